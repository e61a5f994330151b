import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createFolder } from "../checkpoint/temporary-folder.ts";

/** Runs a worker that cannot start; its exit code and its lines on standard error. */
function setup() {
  const folder = createFolder();
  return {
    folder,
    fail: (...flags: string[]) =>
      new Promise<{ code: number | string | null | undefined; lines: string[] }>((resolve) => {
        execFile(process.execPath, ["dist/inference/main.js", ...flags], (error, _, stderr) =>
          resolve({ code: error?.code, lines: stderr.trimEnd().split("\n") }),
        );
      }),
    listen: ["--listen", `unix:${join(folder, "s")}`],
  };
}

describe("a worker that cannot start ends with 1 and one clear line", () => {
  test("without its flags", async () => {
    const { fail, listen } = setup();
    for (const flags of [listen, ["--model", "somewhere"]]) {
      const { code, lines } = await fail(...flags);
      expect(code).toBe(1);
      expect(lines).toEqual([expect.stringMatching(/^worker: usage: --model <model folder> --listen /)]);
    }
  });

  test("with a provider that nobody knows", async () => {
    const { fail, listen } = setup();
    expect(await fail("--model", "somewhere", "--provider", "tpu", ...listen)).toEqual({
      code: 1,
      lines: ["worker: --provider tpu: there is no such provider. Give one of cpu, cuda, webgpu."],
    });
  });

  test("on a folder that is no model", async () => {
    const { fail, folder, listen } = setup();
    mkdirSync(join(folder, "empty"));
    for (const name of ["missing", "empty"]) {
      const { code, lines } = await fail("--model", join(folder, name), ...listen);
      expect(code).toBe(1);
      expect(lines).toEqual([
        `worker: ${join(folder, name)} is not a built model: it has no manifest.json. Build it first: npm run atelier -- model build <checkpoint folder> --out ${join(folder, name)}`,
      ]);
    }
  });
});
