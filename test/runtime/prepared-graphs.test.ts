import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  watch,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { render } from "../../inference/eval/shapes-world.ts";
import { DTYPES, GRAPH_NAMES, type GraphName } from "../../inference/manifest.ts";
import { imageEdit } from "../../inference/pipelines/image-edit.ts";
import { imageToText } from "../../inference/pipelines/image-to-text.ts";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";
import { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { collect, REQUEST } from "../pipelines/drawing.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";

/** Small and quick to open; the VAE's convolutions are laid out anew for a processor, products are packed. */
const GRAPHS = ["mar-encoder", "diffusion-head", "vae-decoder"] as const satisfies readonly GraphName[];
const COPY_FILES = ["complete.json", "graph.onnx", "weights.bin"];

let tiny: TinyModel;
beforeAll(async () => {
  tiny = openTinyModel();
});
afterAll(() => tiny.remove());

/** A model folder of the test's own. */
function setup() {
  const parent = mkdtempSync(join(tmpdir(), "atelier-prepared-"));
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }));
  const folder = join(parent, "model");
  cpSync(tiny.folder, folder, { recursive: true });
  const prepared = join(folder, "prepared");
  /** The folder of the copies that this machine uses. */
  const copies = (): string => {
    const [version = ""] = readdirSync(prepared);
    const [processor = ""] = readdirSync(join(prepared, version));
    return join(prepared, version, processor);
  };
  return {
    parent,
    folder,
    prepared,
    copies,
    copy: (graph: GraphName) => join(copies(), graph),
    /** Opens the graphs as a worker does, and tells what an operator is told. */
    async open({ prepares = true } = {}): Promise<string[]> {
      const notices: string[] = [];
      const onNotice = (notice: string): unknown => notices.push(notice);
      const model = LoadedModel.open(folder, { provider: "cpu", threads: 1, prepares, onNotice });
      await model.warmUp(GRAPHS).finally(() => model.close());
      return notices;
    },
  };
}

/** A process of its own that opens and prepares the graphs; killed with the test. */
function startProcess(folder: string, graphs: readonly GraphName[] = GRAPHS, uid?: number): ChildProcess {
  const code = `
    import { LoadedModel } from ${JSON.stringify(resolve("dist/inference/runtime/loaded-model.js"))};
    const onNotice = (notice) => console.error(notice);
    const model = LoadedModel.open(${JSON.stringify(folder)}, { provider: "cpu", threads: 1, prepares: true, onNotice });
    await model.warmUp(${JSON.stringify(graphs)});
    await model.close();`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
    stdio: ["ignore", "ignore", "pipe"],
    ...(uid === undefined ? {} : { uid }),
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

async function outcomeOf(child: ChildProcess): Promise<{ code: number | null; errors: string }> {
  const errors: Buffer[] = [];
  child.stderr?.on("data", (chunk: Buffer) => errors.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, errors: Buffer.concat(errors).toString() };
}

const identityOf = (file: string): string => `${statSync(file).ino} ${statSync(file).mtimeMs}`;

test.each(DTYPES)("every graph computes the same bits prepared as plain: %s", async (dtype) => {
  const { folder, prepared } = setup();
  if (dtype !== "float32") await buildModel({ checkpointFolder: "inference/presets/tiny", out: folder, dtype });
  const plain = await resultsOf(folder, false);
  expect(existsSync(prepared)).toBe(false);
  const made = await resultsOf(folder, true);
  const loaded = await resultsOf(folder, false);
  expect(Object.keys(plain).toSorted()).toEqual([...GRAPH_NAMES].toSorted());
  expect(made).toEqual(plain);
  expect(loaded).toEqual(plain);
});

test("a copy is made once and then used as it is", async () => {
  const { open, copies, copy } = setup();
  expect(await open()).toEqual([expect.stringMatching(/^Preparing the graphs of .* for this processor, once/)]);
  expect(readdirSync(copies()).toSorted()).toEqual([...GRAPHS].toSorted());
  for (const graph of GRAPHS) expect(readdirSync(copy(graph)).toSorted()).toEqual(COPY_FILES);
  const before = GRAPHS.map((graph) => identityOf(join(copy(graph), "complete.json")));
  expect(await open()).toEqual([]);
  expect(GRAPHS.map((graph) => identityOf(join(copy(graph), "complete.json")))).toEqual(before);
});

test("a process that only uses copies makes none", async () => {
  const { open, prepared } = setup();
  expect(await open({ prepares: false })).toEqual([]);
  expect(existsSync(prepared)).toBe(false);
});

test("two processes that start together leave one whole copy of each graph", async () => {
  const { folder, open, copies, copy } = setup();
  const both = await Promise.all([startProcess(folder), startProcess(folder)].map(outcomeOf));
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(both.map(({ errors }) => errors).join()).not.toContain("cannot");
  expect(readdirSync(copies()).toSorted()).toEqual([...GRAPHS].toSorted());
  for (const graph of GRAPHS) expect(readdirSync(copy(graph)).toSorted()).toEqual(COPY_FILES);
  expect(await open()).toEqual([]);
});

test("a process waits for the copy that another one is making", async () => {
  const { folder, open, copies, copy } = setup();
  await open();
  const finished = join(folder, "finished");
  renameSync(copy("vae-decoder"), finished);
  rmSync(copy("mar-encoder"), { recursive: true });
  const other = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
  onTestFinished(() => void other.kill("SIGKILL"));
  mkdirSync(join(copies(), `.vae-decoder.building-${other.pid}-0`));
  const outcome = outcomeOf(startProcess(folder, ["mar-encoder", "vae-decoder"]));
  await appears(copies(), () => (existsSync(copy("mar-encoder")) ? "mar-encoder" : undefined));
  renameSync(finished, copy("vae-decoder"));
  const record = identityOf(join(copy("vae-decoder"), "complete.json"));
  const ended = once(other, "exit");
  other.kill("SIGKILL");
  await ended;
  expect(await outcome).toEqual({ code: 0, errors: "" });
  expect(identityOf(join(copy("vae-decoder"), "complete.json"))).toBe(record);
});

test("what a killed process leaves behind is not loaded, and removed by the next one", async () => {
  const { folder, open, copies, prepared } = setup();
  const graphFile = join(folder, "diffusion-head.onnx");
  const content = readFileSync(graphFile);
  rmSync(graphFile);
  execFileSync("sh", ["-c", 'mkfifo "$0"', graphFile]); // a process that reads it comes to a halt
  mkdirSync(prepared);
  const child = startProcess(folder);
  const unfinished = await appears(prepared, () =>
    leftoversIn(prepared).find((name) => name.includes("diffusion-head")),
  );
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
  // As if it had been writing.
  writeFileSync(join(prepared, unfinished, "graph.onnx"), content.subarray(0, 1000));
  rmSync(graphFile);
  writeFileSync(graphFile, content);
  expect(readdirSync(copies())).toContain("mar-encoder");
  expect(await open()).toEqual([]);
  expect(leftoversIn(prepared)).toEqual([]);
  expect(readdirSync(copies()).toSorted()).toEqual([...GRAPHS].toSorted());
});

test.each([
  ["a file is cut short", (copy: string) => truncateSync(join(copy, "weights.bin"), 5000)],
  ["a file is gone", (copy: string) => rmSync(join(copy, "weights.bin"))],
  ["the graph is another", (copy: string) => writeFileSync(join(copy, "graph.onnx"), "no graph")],
  ["the record is cut short", (copy: string) => truncateSync(join(copy, "complete.json"), 7)],
  ["the record is gone", (copy: string) => rmSync(join(copy, "complete.json"))],
])("a damaged copy is said to be one, and made again: %s", async (_, damage) => {
  const { open, copy } = setup();
  await open();
  damage(copy("vae-decoder"));
  const damaged = expect.stringMatching(/^The prepared copy .*vae-decoder is not used: /);
  expect(await open({ prepares: false })).toEqual([damaged]);
  expect(await open()).toEqual([damaged]);
  expect(readdirSync(copy("vae-decoder")).toSorted()).toEqual(COPY_FILES);
  expect(await open()).toEqual([]);
});

test("a copy of another processor is neither used nor removed; one of another version is removed", async () => {
  const { open, prepared, copies, copy } = setup();
  await open();
  const own = copies();
  const others = join(own, "../linux-pdp11-000000000000");
  renameSync(own, others);
  truncateSync(join(others, "vae-decoder/weights.bin"), 5000); // using it would be noticed
  expect(await open({ prepares: false })).toEqual([]);
  const [version = ""] = readdirSync(prepared);
  cpSync(join(prepared, version), join(prepared, "onnxruntime-0.1.0-000000000000"), { recursive: true });
  expect(await open()).toEqual([expect.stringContaining("Preparing")]);
  expect(readdirSync(prepared)).toEqual([version]);
  expect(existsSync(join(others, "vae-decoder/graph.onnx"))).toBe(true);
  expect(existsSync(copy("vae-decoder"))).toBe(true);
  expect(existsSync(own)).toBe(true);
});

test("a model of another digest has copies of its own", async () => {
  const { open, folder, prepared } = setup();
  await open();
  const [before] = readdirSync(prepared);
  const file = join(folder, "manifest.json");
  const manifest = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...manifest, digest: "f".repeat(64) }));
  expect(await open({ prepares: false })).toEqual([]);
  await open();
  expect(readdirSync(prepared)).not.toContain(before);
});

test("a model folder that cannot be written works, and the operator is told once", async () => {
  const { parent, folder, prepared } = setup();
  const isRoot = process.getuid?.() === 0;
  for (const each of [parent, folder]) chmodSync(each, 0o555);
  onTestFinished(() => chmodSync(parent, 0o755));
  const { code, errors } = await outcomeOf(startProcess(folder, GRAPHS, isRoot ? 65534 : undefined));
  expect(
    errors
      .trim()
      .split("\n")
      .filter((line) => line.includes("cannot be prepared")),
  ).toEqual([expect.stringMatching(/Cannot write to .*This process keeps packed weights in memory of its own\.$/)]);
  expect(code).toBe(0);
  expect(existsSync(prepared)).toBe(false);
});

/** Digests of all that the graphs computed in a drawing, an edit and an answer; by graph. */
async function resultsOf(folder: string, prepares: boolean): Promise<Record<string, string>> {
  const notices: string[] = [];
  const onNotice = (notice: string): unknown => notices.push(notice);
  const pipelines = openPipelines(folder, { provider: "cpu", threads: 1, prepares, onNotice });
  const { model } = pipelines;
  const hashes = new Map(GRAPH_NAMES.map((graph) => [graph, createHash("sha256")]));
  const ran = new Set<GraphName>();
  const { run } = model;
  model.run = async (graph, feeds, wanted) => {
    const results = await run.call(model, graph, feeds, wanted);
    ran.add(graph);
    for (const name of wanted) {
      const { data } = results[name]!;
      const bytes = data as Float32Array;
      hashes.get(graph)?.update(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    }
    return results as never;
  };
  const { signal } = new AbortController();
  const source = render([{ shape: "circle", color: "red", x: 48, y: 48 }]);
  const short = { ...REQUEST, steps: 2, diffusionSteps: "2" };
  const edit = { ...short, source, instruction: "make it blue", unconditionalPrompt: "Repeat this image." };
  await collect(imageEdit(pipelines, edit, { signal }));
  for await (const _ of imageToText(
    pipelines,
    { image: source, question: "what is it?", size: 96, maxTokens: 3 },
    { signal },
  ));
  await pipelines.close();
  if (prepares) expect(notices).toEqual([expect.stringContaining("Preparing")]);
  else expect(notices).toEqual([]);
  return Object.fromEntries([...ran].map((graph) => [graph, hashes.get(graph)!.digest("hex")]));
}

const leftoversIn = (folder: string): string[] =>
  (readdirSync(folder, { recursive: true }) as string[]).filter((name) => /\.building-[^/]*$/.test(name));

/** What `find` finds once something changed below the folder. */
async function appears(folder: string, find: () => string | undefined): Promise<string> {
  const watcher = watch(folder, { recursive: true });
  try {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      await once(watcher, "change");
    }
  } finally {
    watcher.close();
  }
}
