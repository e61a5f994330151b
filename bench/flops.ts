/**
 * How much of what the original computes do we compute?
 *
 *     npm run build && node dist/bench/flops.js
 *
 * TFLOP of one picture at the published size, by stage; no model is needed.
 */
import { parseUnipicConfig } from "../inference/model/config.ts";
import { type Flops, originalFlops, ourFlops, totalOf } from "./flops/picture-flops.ts";

const config = parseUnipicConfig({ defaults: {} }, "the published configuration");
const work = { side: 64, steps: 32, diffusionSteps: 100, promptTokens: [40, 20] } as const;
const [ours, original] = [ourFlops(config, work), originalFlops(config, work)];
const row = (part: string, mine: number, theirs: number): Record<string, string> => ({
  part,
  original: (theirs / 1e12).toFixed(1),
  ours: (mine / 1e12).toFixed(1),
  ratio: (mine / theirs).toFixed(3),
});
console.log("1024 px, 32 steps, guidance, 100 diffusion steps, prompts of 40 and 20 tokens; TFLOP:");
console.table([
  ...(Object.keys(ours) as (keyof Flops)[]).map((part) => row(part, ours[part], original[part])),
  row("total", totalOf(ours), totalOf(original)),
]);
