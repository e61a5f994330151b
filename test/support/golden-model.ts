import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildModel } from "../../inference/build-model.ts";
import type { Dtype } from "../../inference/manifest.ts";
import { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import type { Configuration } from "./golden.ts";

const EXECUTION = { provider: "cpu", threads: 1 } as const;

/** A golden configuration, built from its checkpoint into a temporary folder. */
export async function buildGoldenModel(
  { folder }: Configuration,
  dtype: Dtype = "float32",
): Promise<{ model: LoadedModel; dispose(): Promise<void> }> {
  const out = mkdtempSync(join(tmpdir(), "atelier-golden-"));
  await buildModel({
    checkpointFolder: join(folder, "checkpoint"),
    configFile: join(folder, "config.json"),
    out: join(out, "model"),
    dtype,
    allowsNoTokenizer: true, // their prompts are recorded as token ids
  });
  const model = LoadedModel.open(join(out, "model"), EXECUTION);
  return {
    model,
    async dispose() {
      await model.close();
      rmSync(out, { recursive: true, force: true });
    },
  };
}
