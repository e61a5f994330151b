/** A worker that computes nothing: it speaks the protocol at a given pace, so that all that is measured is the platform's. */
import { setTimeout as pause } from "node:timers/promises";
import { createServer } from "nice-grpc";
import { HealthDefinition, HealthServiceImpl, HealthState } from "nice-grpc-server-health";
import {
  type GenerateRequest,
  type GenerateResponse,
  InferenceServiceDefinition,
  Speed,
  Stage,
} from "../../proto/gen/inference/v1/inference.ts";
import { TINY_OFFER } from "../../test/support/tiny-offer.ts";

export const STEPS = TINY_OFFER.textToImage.defaultSteps;
const SIDES = [96, 1024];
const OFFER = {
  ...TINY_OFFER.textToImage,
  sizes: SIDES.map((side) => ({ width: side, height: side })),
  maxPixels: 1024 * 1024,
  speeds: [{ speed: Speed.EXACT, description: "" }],
};
const PRESET = {
  name: "tiny",
  buildDigest: "paced",
  textToImage: OFFER,
  imageEdit: undefined,
  imageVariation: undefined,
  imageToText: undefined,
};
const RECIPE = { buildDigest: "paced", provider: "cpu", runtimeVersion: "0", threads: 1, groupSize: 1 };
const PREVIEW_SIDE = 96;

export interface Pace {
  stepMs: number;
  /** Of each step's preview. */
  readonly previewBytes: number;
  /** By their side. */
  readonly pictures: ReadonlyMap<number, Uint8Array>;
}

export interface PacedWorker {
  /** host:port */
  readonly target: string;
  stop(): void;
}

export async function startPacedWorker(pace: Pace): Promise<PacedWorker> {
  const server = createServer();
  const health = HealthState();
  server.add(InferenceServiceDefinition, {
    describe: async () => ({
      slots: 1,
      standby: 0,
      presets: [PRESET],
    }),
    generate: (request) => draw(request, pace),
    yield: async () => ({}),
  });
  server.add(HealthDefinition, HealthServiceImpl(health));
  const port = await server.listen("127.0.0.1:0");
  health.setStatus("healthy");
  return { target: `127.0.0.1:${port}`, stop: () => server.forceShutdown() };
}

async function* draw({ task }: GenerateRequest, pace: Pace): AsyncGenerator<GenerateResponse> {
  const drawing = task?.$case === "textToImage" ? task.value.drawing : undefined;
  const side = drawing?.size?.width ?? 96;
  const totalSteps = drawing?.steps ?? STEPS;
  yield { event: { $case: "started", value: { stepsDone: 0, totalSteps, recipe: RECIPE } } };
  const webp = new Uint8Array(pace.previewBytes).fill(7);
  for (let stepsDone = 1; stepsDone <= totalSteps; stepsDone++) {
    await pause(pace.stepMs);
    const previews = [{ index: 0, width: PREVIEW_SIDE, height: PREVIEW_SIDE, webp }];
    yield { event: { $case: "frame", value: { stage: Stage.DRAWING, stepsDone, totalSteps, previews } } };
  }
  const data = pace.pictures.get(side) ?? new Uint8Array();
  const image = { index: 0, size: { width: side, height: side }, mimeType: "image/png", data };
  yield { event: { $case: "image", value: image } };
  yield { event: { $case: "done", value: { computeMs: 1n, promptsRead: 1, promptsKnown: 0 } } };
}
