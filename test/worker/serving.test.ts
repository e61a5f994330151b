import { expect, test } from "vitest";
import { loadManifest } from "../../inference/manifest.ts";
import { Speed } from "../../proto/gen/inference/v1/inference.ts";
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
  const drawing = {
    sizes: [{ width: 96, height: 96 }],
    defaultSize: { width: manifest.defaults.size, height: manifest.defaults.size },
    sizeStep: 16,
    maxPixels: 96 * 96,
    maxSteps: 36,
    defaultSteps: manifest.defaults.steps,
    maxCount: 4,
    defaultTemperature: manifest.defaults.temperature,
    speeds: [Speed.EXACT, Speed.FAST, Speed.FASTER].map((speed) => ({ speed, description: expect.any(String) })),
  };
  expect(await worker.describe()).toEqual({
    slots: 3,
    standby: 1,
    presets: [
      {
        name: manifest.preset,
        buildDigest: manifest.digest,
        textToImage: {
          ...drawing,
          defaultGuidanceScale: manifest.defaults.guidanceScale,
          defaultUnconditionalPrompt: manifest.prompt.textToImageUnconditional,
        },
        imageEdit: {
          ...drawing,
          defaultGuidanceScale: manifest.defaults.editGuidanceScale,
          defaultUnconditionalPrompt: manifest.prompt.imageEditUnconditional,
        },
        imageVariation: {
          ...drawing,
          defaultGuidanceScale: manifest.defaults.guidanceScale,
          defaultUnconditionalPrompt: manifest.prompt.textToImageUnconditional,
        },
        imageToText: { sizes: [96], defaultSize: 96, maxTokens: 490 }, // half of the positions beside a picture
      },
    ],
  });
  worker.child.kill("SIGTERM");
  await watching;
  expect(statuses).toEqual(["SERVING", "NOT_SERVING"]);
  expect(await worker.exited).toEqual({ code: 0, signal: null });
});
