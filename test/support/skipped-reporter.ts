import { relative } from "node:path";
import type { Reporter, TestModule } from "vitest/node";

/** Names what was skipped because this machine lacks a program: what takes long is skipped by everybody. */
export class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    if (process.env["CI"] === undefined) return;
    const skipped = modules.flatMap((module) =>
      [...module.children.allTests("skipped")].map(
        (test) => `${relative(process.cwd(), module.moduleId)}: ${test.fullName}`,
      ),
    );
    if (skipped.length > 0) process.stdout.write(`\nSkipped:\n  ${skipped.join("\n  ")}\n`);
  }
}
