import { join } from "node:path";
import { pino } from "pino";
import { inject } from "vitest";
import { LocalWorkers } from "../../src/pool/local-workers.ts";
import { workerDiscoveryConformance } from "./worker-discovery.ts";

workerDiscoveryConformance("local child processes", async () => {
  const pids = new Map<string, number>();
  const noteStart = (line: string): void => {
    const { worker, pid } = JSON.parse(line) as { worker?: string; pid?: number };
    if (worker !== undefined && pid !== undefined) pids.set(worker, pid);
  };
  const discovery = new LocalWorkers({
    inferenceFolder: "dist/inference",
    checkpointFolder: "inference/presets/tiny",
    modelFolder: join(inject("templateData"), "models/tiny"),
    count: 1,
    dtype: "float32",
    provider: "cpu",
    threads: 1,
    slots: undefined,
    logger: pino({ base: null }, { write: noteStart }),
  });
  return { discovery, kill: (name) => process.kill(pids.get(name)!, "SIGKILL") };
});
