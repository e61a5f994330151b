/**
 * Loaded into the processes of a server with `node --import`: the computing thread of its worker notes for how long it
 * computed nothing between two drawings. The server and the worker are otherwise what they are for users.
 */
import { appendFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

/** Of a drawing that has ended: its last graph run ended so long before the first one of the next. */
export interface GraphGap {
  readonly gapMs: number;
  /** From its first graph run to its last, or that of its company. */
  readonly drawnMs: number;
}

type Run = (this: { readonly outputNames: readonly string[] }, ...args: unknown[]) => Promise<unknown>;

const { GRAPH_GAPS: file, WITHOUT_STANDBY: isWithout } = process.env;
const [, program = ""] = process.argv;
if (isMainThread && isWithout === "1" && program.endsWith("inference/main.js")) process.argv.push("--standby", "0");
if (file !== undefined && program.endsWith("compute-thread.js")) await watch(file);

async function watch(gaps: string): Promise<void> {
  const { InferenceSession } = await import("onnxruntime-node");
  const { prototype } = InferenceSession as unknown as { prototype: { run: Run } };
  const { run } = prototype;
  let begunAt: number | undefined;
  let decodedAt: number | undefined;
  prototype.run = async function (...args) {
    const isDecoder = this.outputNames.includes("pixels");
    const now = performance.now();
    if (decodedAt !== undefined && !isDecoder) {
      const gap: GraphGap = { gapMs: now - decodedAt, drawnMs: decodedAt - (begunAt ?? now) };
      appendFileSync(gaps, `${JSON.stringify(gap)}\n`);
      begunAt = undefined;
      decodedAt = undefined;
    }
    begunAt ??= now;
    const results = await run.apply(this, args);
    if (isDecoder) decodedAt = performance.now();
    return results;
  };
}
