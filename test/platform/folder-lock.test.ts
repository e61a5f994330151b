import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lockFolder } from "../../src/platform/folder-lock.ts";

describe("a folder lock", () => {
  let folder: string;
  const lockFile = (): string => join(folder, "lock.json");

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "atelier-lock-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test("is held by one at a time, and free again after its release", () => {
    const lock = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow(`${folder} is in use by process ${process.pid}. Stop that server first`);
    lock.release();
    lockFolder(folder).release();
  });

  test("goes to one of two processes that start in the same instant", async () => {
    const script = `
      const { lockFolder } = await import("${process.cwd()}/dist/src/platform/folder-lock.js");
      const { createInterface } = await import("node:readline");
      for await (const line of createInterface({ input: process.stdin })) {
        const [at, folder] = JSON.parse(line);
        while (Date.now() < at);
        try { lockFolder(folder); console.log("owner"); } catch (error) { console.log(error.name); }
      }`;
    const rivals = [1, 2].map(() => {
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      return { child, answers: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
    });
    for (let i = 0; i < 100; i++) {
      const line = JSON.stringify([Date.now() + 5, join(folder, String(i))]);
      for (const { child } of rivals) child.stdin.write(`${line}\n`);
      const answers = await Promise.all(rivals.map(async ({ answers }) => (await answers.next()).value));
      expect(answers.toSorted()).toEqual(["StartupError", "owner"]);
    }
    for (const { child } of rivals) child.stdin.end();
  });

  test("of a process that was killed is taken over at once", async () => {
    const script = `import("${process.cwd()}/dist/src/platform/folder-lock.js").then(({ lockFolder }) => { lockFolder(${JSON.stringify(folder)}); console.log("locked"); setInterval(() => {}, 1000); })`;
    const owner = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => owner.stdout.once("data", resolve));
    expect(() => lockFolder(folder)).toThrow(`in use by process ${owner.pid}`);
    owner.kill("SIGKILL");
    await new Promise((resolve) => owner.once("close", resolve));
    lockFolder(folder).release();
  });

  test("is not mistaken for that of a process which has the same PID by now", () => {
    const lock = lockFolder(folder);
    const owner = JSON.parse(readFileSync(lockFile(), "utf8"));
    lock.release();
    writeFileSync(lockFile(), JSON.stringify({ ...owner, startedAt: "1" }));
    lockFolder(folder).release();
  });

  test("of an owner on another machine counts until it has not been touched for a minute", () => {
    writeFileSync(lockFile(), JSON.stringify({ pid: 1, startedAt: "1", place: "elsewhere" }));
    expect(() => lockFolder(folder)).toThrow("in use by process 1");
    const longAgo = new Date(Date.now() - 61_000);
    utimesSync(lockFile(), longAgo, longAgo);
    lockFolder(folder).release();
  });

  test("that a dying process left unreadable is taken over", () => {
    writeFileSync(lockFile(), '{"pid":');
    lockFolder(folder).release();
  });

  test.skipIf(process.getuid?.() === 0)("of a folder that cannot be written says so", () => {
    chmodSync(folder, 0o500);
    expect(() => lockFolder(join(folder, "data"))).toThrow("Set DATA_DIR to a folder that this user may write to.");
    chmodSync(folder, 0o700);
  });

  test("below a file says that the folder cannot be written", () => {
    writeFileSync(join(folder, "file"), "");
    expect(() => lockFolder(join(folder, "file", "data"))).toThrow(
      "Set DATA_DIR to a folder that this user may write to.",
    );
  });
});
