/** The command that draws every prompt of a file. Run again, it goes on: it fetches what was drawn, and asks for what is missing. */
import { createHash, randomUUID } from "node:crypto";
import { createInterface } from "node:readline/promises";
import { Readable } from "node:stream";
import { setTimeout } from "node:timers/promises";
import cliProgress from "cli-progress";
import type { ApiClient } from "./api-client.ts";
import { readSamples, type Sample } from "./batch-file.ts";
import { BatchFolder } from "./batch-folder.ts";
import { type BatchPage, BatchRefused, cancelBatch, createBatch, type Item, readBatch } from "./batch-requests.ts";
import type { DrawingWish } from "./task-wish.ts";
import { upload } from "./upload.ts";

/** What the server takes in one batch. */
const MAX_ITEMS = 50_000;
const MAX_BYTES = 60_000_000;
const POLL_MS = 1000;
/** Exit code of a command that was interrupted: 128 + SIGINT. */
const INTERRUPTED = 130;
const SEEDS = 2n ** 64n;
const OPEN = ["WAITING", "QUEUED", "RUNNING"];

export interface BatchOptions {
  readonly client: ApiClient;
  /** Absolute paths. */
  readonly file: string;
  readonly out: string;
  /** Pictures of a prompt: the square of it, tiled into one. */
  readonly gridSize: number;
  readonly preset: string | undefined;
  readonly settings: Omit<DrawingWish, "count">;
  /** Aborts when the user wants to stop. */
  readonly stop: AbortSignal;
  readonly say: (text: string) => void;
}

/** @returns the exit code */
export async function drawBatch(options: BatchOptions): Promise<number> {
  const { file, out, gridSize, preset, settings, say } = options;
  const samples = readSamples(file);
  const input = createHash("sha256").update(JSON.stringify({ samples, gridSize, preset, settings })).digest("hex");
  const folder = BatchFolder.open(out, { input, seed: settings.seed });
  const run = new BatchRun(samples, folder, options);
  try {
    await run.run();
  } catch (error) {
    if (!options.stop.aborted) throw error;
  }
  if (options.stop.aborted) {
    await run.leave();
    return INTERRUPTED;
  }
  const missing = run.missing().length;
  say(`${samples.length - missing} of ${samples.length} prompts are in ${out} (seed ${folder.seed})`);
  for (const [name, reason] of run.failures) say(`${name}: ${reason}`);
  if (missing > 0) say("Run the command again to try what is missing once more.");
  return missing > 0 ? 1 : 0;
}

class BatchRun {
  /** Why an item has no picture, by its name. */
  readonly failures = new Map<string, string>();
  /** Names that this run asked for: they are not asked for again. */
  private readonly tried = new Set<string>();
  private readonly bar: cliProgress.SingleBar;

  constructor(
    private readonly samples: readonly Sample[],
    private readonly folder: BatchFolder,
    private readonly options: BatchOptions,
  ) {
    const format = "{bar} prompt {value}/{total} | {eta_formatted}";
    this.bar = new cliProgress.SingleBar({ format, stream: process.stderr, hideCursor: true });
  }

  /** Names of the prompts whose pictures are not in the folder. */
  missing(): readonly string[] {
    return this.samples.map((_, index) => nameOf(index)).filter((name) => !this.folder.has(name));
  }

  async run(): Promise<void> {
    const { stop } = this.options;
    const known = this.folder.asked?.id;
    if (known !== undefined) await this.follow(known);
    this.failures.clear(); // of an earlier run: they are tried once more
    for (;;) {
      const names = this.missing().filter((name) => !this.tried.has(name));
      if (names.length === 0 || stop.aborted) return;
      await this.follow(await this.ask(names));
    }
  }

  /** After an interruption: cancels the batch if the user wants that, or says how to go on. */
  async leave(): Promise<void> {
    this.bar.stop();
    const { client, say } = this.options;
    const id = this.folder.asked?.id;
    if (id === undefined) return say("stopped; run the command again to go on");
    if (!(await wantsToCancel())) return say(`${id} goes on. Run the command again to fetch its pictures.`);
    await cancelBatch(client, id);
    say(`canceled ${id}. Run the command again to draw what is missing.`);
  }

  /** Asks for as many as a batch takes. An earlier run that was cut short may have done so: that batch is the same. */
  private async ask(names: readonly string[]): Promise<string> {
    const { client, preset, gridSize, settings, say } = this.options;
    const { seed: _, ...common } = settings;
    const defaults = { ...common, count: gridSize ** 2 };
    const items = fitting(names.map((customId) => this.itemOf(customId)));
    const earlier = this.folder.asked;
    const { key, uploadId } = earlier ?? { key: randomUUID(), uploadId: await this.send(items) };
    this.folder.noteAsked({ key, uploadId });
    const input = { idempotencyKey: key, preset, defaults, sourceUploadId: uploadId };
    const id = await createBatch(client, input, (line) => items[line - 1]?.customId).catch((error: unknown) => {
      if (error instanceof BatchRefused) this.folder.noteAsked(undefined);
      if (error instanceof BatchRefused && earlier !== undefined) return undefined;
      throw error;
    });
    if (id === undefined) return this.ask(names); // what the earlier run sent has expired
    this.folder.noteAsked({ key, uploadId, id });
    say(`queued ${id} (${items.length} prompts)`);
    for (const { customId } of items) this.tried.add(customId);
    return id;
  }

  private send(items: readonly object[]): Promise<string> {
    const { client, file, stop } = this.options;
    const bytes = Buffer.from(items.map((item) => `${JSON.stringify(item)}\n`).join(""));
    const source = { name: file, sizeBytes: bytes.length, open: () => Readable.from([bytes]) };
    return upload(client, source, { purpose: "BATCH", stop });
  }

  private itemOf(customId: string): { customId: string; prompt: string; seed: string } {
    const index = Number(customId);
    const prompt = `${this.samples[index]?.prompt.trim()}.`; // as the original's script for batches does
    return { customId, prompt, seed: String((this.folder.seed + BigInt(index)) % SEEDS) };
  }

  /** Fetches what the batch draws until it has ended. */
  private async follow(id: string): Promise<void> {
    const { client, stop } = this.options;
    let after: string | undefined;
    for (;;) {
      stop.throwIfAborted();
      const batch = await readBatch(client, id, after);
      this.show(batch);
      const ended = [];
      for (const edge of batch.items.edges) {
        if (OPEN.includes(edge.node.status)) break;
        ended.push(edge);
      }
      for (const { node } of batch.items.edges) await this.fetch(node);
      after = ended.at(-1)?.cursor ?? after;
      if (batch.items.edges.length === 0 && batch.finishedAt !== null) break;
      if (ended.length < batch.items.edges.length || ended.length === 0)
        await setTimeout(POLL_MS, undefined, { signal: stop });
    }
    this.bar.stop();
    this.folder.noteAsked(undefined);
  }

  /** Writes the pictures of an item that was drawn and is not here yet. */
  private async fetch({ customId, status, error, generation }: Item): Promise<void> {
    const { client, gridSize, stop } = this.options;
    if (OPEN.includes(status) || this.folder.has(customId)) return;
    const sample = this.samples[Number(customId)];
    if (status !== "SUCCEEDED" || sample === undefined) {
      this.failures.set(customId, error?.message ?? status.toLowerCase());
      return;
    }
    stop.throwIfAborted();
    const pictures = await Promise.all((generation?.images ?? []).map(({ url }) => client.download(url)));
    await this.folder.write(customId, { sample, pictures, columns: gridSize });
  }

  private show({ total, counts }: BatchPage): void {
    if (!this.bar.isActive) this.bar.start(total, 0);
    this.bar.update(counts.succeeded + counts.failed + counts.canceled);
  }
}

const nameOf = (index: number): string => String(index).padStart(8, "0");

/** The first items, as far as one batch holds them. */
function fitting<T extends object>(items: readonly T[]): readonly T[] {
  let bytes = 0;
  const end = items.findIndex((item, index) => {
    bytes += Buffer.byteLength(JSON.stringify(item));
    return index > 0 && (index === MAX_ITEMS || bytes > MAX_BYTES);
  });
  return end === -1 ? items : items.slice(0, end);
}

async function wantsToCancel(): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    return /^y/i.test(await terminal.question("Cancel the batch on the server, too? What is drawn stays paid. [y/N] "));
  } finally {
    terminal.close();
  }
}
