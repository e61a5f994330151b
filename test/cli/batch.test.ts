import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Status } from "nice-grpc";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { CANCEL_BATCH } from "../support/batches.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { createUpload } from "../support/uploads.ts";
import { Command, runCommand } from "./command.ts";

const SAMPLES = [{ prompt: "a red circle", tag: "first" }, { prompt: "  a blue square " }, { prompt: "a star" }];

describe("batch", () => {
  let worker: FakeWorker;
  let app: TestApp;
  let folder: string;

  beforeAll(async () => {
    worker = new FakeWorker(2);
    app = await createTestApp({ workers: worker });
  });
  afterAll(() => app.stop());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "atelier-cli-"));
    writeFileSync(join(folder, "prompts.json"), JSON.stringify(SAMPLES));
    return () => rmSync(folder, { recursive: true, force: true });
  });

  const options = () => ({ cwd: folder, environment: { DATA_DIR: app.dataDir } });
  const start = (...args: string[]) =>
    new Command(["batch", "prompts.json", "--out", "pictures", "--seed", "5", ...args], options());
  const out = (name: string) => join(folder, "pictures", name);
  const countBatches = () => app.db.transaction(asPlatform, (tx) => tx.batch.count());
  const draw = async (prompts: readonly string[]) => {
    for (const _ of prompts) {
      const call = await worker.nextCall();
      expect(prompts).toContain(call.prompt);
      await call.started().succeed();
    }
  };

  test("writes the original's files, and a second run finds nothing to do", async () => {
    const command = start();
    const prompts: string[] = [];
    for (let i = 0; i < 3; i++) {
      const call = await worker.nextCall();
      prompts.push(call.prompt);
      expect(call.drawing).toMatchObject({ count: 4, seed: BigInt(5 + i) });
      await call.started().succeed();
    }
    expect(await command.ended()).toBe(0);
    expect(command.output).toMatch(/^queued bat_\S+ \(3 prompts\)\n3 of 3 prompts are in \S+ \(seed 5\)\n$/);
    expect(prompts.sort()).toEqual(["a blue square.", "a red circle.", "a star."]);
    expect(readdirSync(join(folder, "pictures")).sort()).toEqual([
      ...[0, 1, 2].flatMap((index) => [`0000000${index}.jpg`, `0000000${index}.json`]),
      "batch.json",
    ]);
    expect(JSON.parse(readFileSync(out("00000000.json"), "utf8"))).toEqual({ ...SAMPLES[0], sample_id: 0 });
    expect(await sharp(out("00000002.jpg")).metadata()).toMatchObject({ format: "jpeg", width: 192, height: 192 });

    const batches = await countBatches();
    const again = start();
    expect(await again.ended()).toBe(0);
    expect(again.output).toMatch(/^3 of 3 prompts are in /);
    expect(await countBatches()).toBe(batches);
  });

  test("goes on with the same batch after an interruption, and leaves alone what is there", async () => {
    const first = start("--grid-size", "1");
    await draw(["a red circle.", "a blue square."]);
    await until(() => expect(readdirSync(join(folder, "pictures"))).toContain("00000001.json"));
    first.kill("SIGINT");
    expect(await first.ended()).toBe(130);
    expect(first.output).toMatch(/bat_\S+ goes on\. Run the command again to fetch its pictures\.\n$/);
    const kept = statSync(out("00000000.jpg")).mtimeMs;
    rmSync(out("00000001.json")); // as if it had been killed between picture and description
    const batches = await countBatches();

    const second = start("--grid-size", "1");
    await draw(["a star."]);
    expect(await second.ended()).toBe(0);
    expect(await countBatches()).toBe(batches);
    expect(statSync(out("00000000.jpg")).mtimeMs).toBe(kept);
    expect(await sharp(out("00000001.jpg")).metadata()).toMatchObject({ width: 96, height: 96 });
    await expectBalancedLedger(app.db);
  });

  test("names what failed, and draws only that when it is run again", async () => {
    const first = start("--grid-size", "1");
    for (let i = 0; i < 3; i++) {
      const call = await worker.nextCall();
      if (call.prompt === "a star.") call.fail(Status.INVALID_ARGUMENT, "No stars today.");
      else await call.started().succeed();
    }
    expect(await first.ended()).toBe(1);
    expect(first.output).toContain("2 of 3 prompts are in ");
    expect(first.output).toContain(
      "00000002: No stars today.\nRun the command again to try what is missing once more.",
    );
    const second = start("--grid-size", "1");
    const call = await worker.nextCall();
    expect([call.prompt, call.drawing.seed]).toEqual(["a star.", 7n]);
    await call.started().succeed();
    expect(await second.ended()).toBe(0);
    expect(second.output).toContain("(1 prompts)");
  });

  test("refuses a folder that is for other prompts or settings", async () => {
    const first = start("--grid-size", "1");
    await draw(["a red circle.", "a blue square.", "a star."]);
    await first.ended();
    const { code, output } = await runCommand(
      ["batch", "prompts.json", "--out", "pictures", "--steps", "3", "--grid-size", "1"],
      options(),
    );
    expect(code).toBe(1);
    expect(output).toContain("holds pictures of other prompts or settings. Name another folder");
  });

  test("says what the server refuses", async () => {
    const { code, output } = await runCommand(
      ["batch", "prompts.json", "--out", "pictures", "--steps", "99"],
      options(),
    );
    expect(code).toBe(1);
    expect(output).toContain("atelier: Defaults: steps is 99; this preset allows 1 to 36.");
  });

  test("says which prompt the server refuses", async () => {
    writeFileSync(join(folder, "prompts.json"), JSON.stringify([{ prompt: "a" }, { prompt: "x".repeat(4000) }]));
    const { code, output } = await runCommand(["batch", "prompts.json", "--out", "pictures"], options());
    expect(code).toBe(1);
    expect(output).toContain("atelier: 00000001: prompt has 4001 characters; at most 4000 are read. Shorten it.");
  });

  test("draws more prompts than a request holds as one batch, and forgets an upload that expired before its batch", async () => {
    const prompts = Array.from({ length: 1001 }, (_, i) => ({ prompt: `picture ${i}` }));
    writeFileSync(join(folder, "prompts.json"), JSON.stringify(prompts));
    const before = await countBatches();
    const first = start();
    await until(() => expect(first.output).toContain("(1001 prompts)"));
    const state = JSON.parse(readFileSync(out("batch.json"), "utf8"));
    expect(await countBatches()).toBe(before + 1);
    first.kill("SIGINT");
    await first.ended();
    // As if the first run had been cut short between its upload and its batch, a day ago.
    const { uploadId } = (await createUpload(app.member, "BATCH")) as { uploadId: string };
    const asked = { key: "another", uploadId };
    writeFileSync(out("batch.json"), JSON.stringify({ ...state, asked }));
    const second = start();
    await until(() => expect(second.output).toContain("(1001 prompts)"));
    second.kill("SIGINT");
    await second.ended();
    await app.member.query(CANCEL_BATCH, { id: state.asked.id });
    await app.member.query(CANCEL_BATCH, { id: JSON.parse(readFileSync(out("batch.json"), "utf8")).asked.id });
  });

  test.each<[string, string, string]>([
    ["no JSON list", "[{", "prompts.json is not valid JSON: "],
    ["an empty list", "[]", "prompts.json is empty."],
    ["an entry without a prompt", '[{"prompt": "a"}, {"text": "b"}]', 'prompts.json: entry 1 has no "prompt".'],
    ["an empty prompt", '[{"prompt": "  "}]', 'prompts.json: entry 0 has an empty "prompt".'],
    ["a line that is no JSON", '{"prompt": "a"}\n\n{"prompt"\n', "prompts.json, line 3 is not valid JSON: "],
    ["a line that is no object", '{"prompt": "a"}\n7\n', "prompts.json: line 2 is no object."],
  ])("refuses %s, with what to give", async (_, text, message) => {
    writeFileSync(join(folder, "prompts.json"), text);
    const { code, output } = await runCommand(["batch", "prompts.json", "--out", "pictures"], options());
    expect(output).toContain(message);
    expect(output).toContain('Give it [{"prompt": "a star"}], or one {"prompt": "a star"} a line.');
    expect([code, readdirSync(folder)]).toEqual([1, ["prompts.json"]]);
  });
});
