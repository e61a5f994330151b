import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { startWorker, type WorkerProcess } from "../support/worker-process.ts";
import { codeOf, collect, expectEnd, requestOf, SHORT } from "./attempts.ts";

let folder: string;
let worker: WorkerProcess;

/** The tiny model, whose tokenizer gives "heart" an id that the model has no embedding for. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "atelier-broken-"));
  cpSync(join(inject("templateData"), "models/tiny"), folder, { recursive: true });
  const file = join(folder, "tokenizer.json");
  const tokenizer = JSON.parse(readFileSync(file, "utf8"));
  tokenizer.model.vocab["Ġheart"] = 9999;
  writeFileSync(file, JSON.stringify(tokenizer));
  worker = await startWorker(folder);
});
afterAll(async () => {
  await worker.dispose();
  rmSync(folder, { recursive: true });
});

test("an exception in one run fails that attempt with INTERNAL, and the worker goes on serving", async () => {
  const failed = await collect(worker.generate(requestOf({ ...SHORT, prompt: "a red heart" })));
  expect(codeOf(failed)).toBe("INTERNAL");
  expect(failed.error?.details).toContain("token id 9999 is outside the vocabulary");
  expectEnd(await collect(worker.generate(requestOf(SHORT))), "done");
  expect(worker.child.exitCode).toBeNull();
});
