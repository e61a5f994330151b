import { expect, test } from "vitest";
import { loadManifest } from "../../inference/manifest.ts";
import { useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();

/** A worker and the statuses that its health service reports, until the connection ends. */
async function setup() {
  const worker = await workers.start(["--slots", "3"]);
  const statuses: string[] = [];
  const watching = (async () => {
    for await (const status of worker.watchHealth()) statuses.push(status);
  })();
  return { worker, statuses, watching, manifest: loadManifest(workers.folder) };
}

test("a worker describes its model and its slots, and serves until it is asked to stop", async () => {
  const { worker, statuses, watching, manifest } = await setup();
  expect(await worker.describe()).toEqual({
    slots: 3,
    standby: 0,
    presets: [
      {
        name: manifest.preset,
        buildDigest: manifest.digest,
        textToImage: {
          sizes: [{ width: 96, height: 96 }],
          defaultSize: { width: manifest.defaults.size, height: manifest.defaults.size },
          maxSteps: 36,
          defaultSteps: manifest.defaults.steps,
          maxCount: 4,
          defaultGuidanceScale: manifest.defaults.guidanceScale,
          defaultTemperature: manifest.defaults.temperature,
          defaultUnconditionalPrompt: manifest.prompt.textToImageUnconditional,
        },
      },
    ],
  });
  worker.child.kill("SIGTERM");
  await watching;
  expect(statuses).toEqual(["SERVING", "NOT_SERVING"]);
  expect(await worker.exited).toEqual({ code: 0, signal: null });
});
