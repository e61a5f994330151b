import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { loadManifest } from "../../inference/manifest.ts";
import { createCheckpoint, expectToRun } from "./own-checkpoint.ts";
import { PRESET } from "./smallest-checkpoint.ts";

const TOKENIZER = "Qwen2.5-1.5B-Instruct/tokenizer.json";
/** The last graph that a build writes. */
const LAST_GRAPH = "vae-decoder.onnx";

/**
 * A checkpoint whose tokenizer can be a pipe that gives its content once: a build of it checks the tokenizer first, and
 * comes to a halt where it copies it.
 */
function setup() {
  const copy = createCheckpoint();
  const pipe = join(copy.checkpoint, TOKENIZER);
  return {
    ...copy,
    repairTokenizer(): void {
      rmSync(pipe);
      copyFileSync(join(PRESET, TOKENIZER), pipe);
    },
    /** Starts a build in a process of its own and resolves when it comes to a halt: all graphs are written. */
    async startBuild(): Promise<ChildProcess> {
      rmSync(pipe);
      execFileSync("sh", ["-c", 'mkfifo "$0"', pipe]);
      const content = spawn("sh", ["-c", 'cat "$0" > "$1"', join(PRESET, TOKENIZER), pipe], { stdio: "ignore" });
      onTestFinished(() => void content.kill("SIGKILL"));
      const child = startCommand(copy);
      const findUnfinished = (): string | undefined => copy.results().find((name) => name.includes("building"));
      await appears(copy.parent, () => findUnfinished() !== undefined, child);
      const unfinished = join(copy.parent, findUnfinished()!);
      await appears(unfinished, () => existsSync(join(unfinished, LAST_GRAPH)), child);
      return child;
    },
  };
}

/** The compiled build command; killed with the test. */
function startCommand({ checkpoint, out }: { checkpoint: string; out: string }): ChildProcess {
  const child = spawn(process.execPath, ["dist/inference/cli.js", "build", checkpoint, "--out", out], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** Resolves when something in the folder makes it so. */
async function appears(folder: string, isThere: () => boolean, child: ChildProcess): Promise<void> {
  const stop = new AbortController();
  const failed = once(child, "exit", { signal: stop.signal }).then(() => expect.fail("the build ended early"));
  try {
    const watcher = watch(folder, { signal: stop.signal });
    while (!isThere()) await Promise.race([once(watcher, "change"), failed]);
  } finally {
    stop.abort();
    await failed.catch(() => undefined);
  }
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

test("a killed build leaves nothing that loads, and the next one removes its leftovers", async () => {
  const { startBuild, repairTokenizer, build, results, parent, out } = setup();
  await kill(await startBuild());
  expect(existsSync(out)).toBe(false);
  const [leftover, ...others] = results();
  expect(others).toEqual([]);
  expect(readdirSync(join(parent, leftover!))).toContain("weights.bin");
  expect(() => loadManifest(join(parent, leftover!))).toThrow("is not a built model");

  repairTokenizer();
  expect((await build()).isNew).toBe(true);
  expect(results()).toEqual(["model"]);
  await expectToRun(out);
});

test("a killed build leaves the model that was there before", async () => {
  const { startBuild, build, out } = setup();
  const { manifest } = await build();
  await kill(await startBuild());
  expect(loadManifest(out)).toEqual(manifest);
  await expectToRun(out);
});

test("leftovers of an earlier process with the same id are removed too", async () => {
  const { build, results, parent, out } = setup();
  // In a container every start gives the process the same id.
  const leftover = join(parent, `.model.building-${process.pid}`);
  mkdirSync(leftover);
  writeFileSync(join(leftover, "weights.bin"), "");
  await build();
  expect(results()).toEqual(["model"]);
  await expectToRun(out);
});

test("the work of a build that still runs is left alone", async () => {
  const { startBuild, results, parent, out } = setup();
  await startBuild();
  const [own] = results();
  await buildModel({ checkpointFolder: createCheckpoint().checkpoint, out });
  expect(results().toSorted()).toEqual([own, "model"]);
  expect(existsSync(join(parent, own!, LAST_GRAPH))).toBe(true);
});

test("builds to one folder at the same time all end with a model", async () => {
  const { build, results, out } = createCheckpoint();
  const built = await Promise.all([build(), build()]);
  expect(new Set(built.map(({ manifest }) => manifest.digest)).size).toBe(1);
  expect(results()).toEqual(["model"]);
  expect(loadManifest(out)).toEqual(built[0]!.manifest);
  await expectToRun(out);
});

test("processes that build to one folder at the same time all end with a model", async () => {
  const copy = createCheckpoint();
  const children = Array.from({ length: 2 }, () => startCommand(copy));
  const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0]));
  expect(codes).toEqual([0, 0]);
  expect(copy.results()).toEqual(["model"]);
  await expectToRun(copy.out);
});
