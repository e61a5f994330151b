import { describe, expect, test } from "vitest";
import { InvalidRequestError } from "../../inference/pipelines/invalid-request.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../inference/pipelines/mar-checkpoint.ts";
import type { MarProgress } from "../../inference/pipelines/mar-sampler.ts";
import { maskSteps } from "../../inference/sampling/mask-schedule.ts";
import { seededRandomness } from "../../inference/sampling/randomness.ts";

const MEBIBYTE = 1024 * 1024;

interface Shape {
  readonly images: number;
  readonly places: number;
  readonly channels: number;
  readonly steps: number;
}

/** The state after some steps of a drawing, with arbitrary latents. */
function setup({ images, places, channels, steps }: Shape, stepsDone: number): MarProgress {
  const randomness = seededRandomness(4n);
  const schedule = maskSteps({ tokenCount: places, steps });
  const count = schedule.slice(0, stepsDone).reduce((sum, { predicted }) => sum + predicted, 0);
  const pictures = Array.from({ length: images }, (_, image) => {
    const isKnown = new Uint8Array(places);
    const latents = new Float32Array(places * channels);
    for (const place of randomness.order(image, places).subarray(places - count)) {
      isKnown[place] = 1;
      const row = latents.subarray(place * channels, (place + 1) * channels);
      randomness.fillNoise(row, { image, step: 0, draw: 0, places: Uint32Array.of(place) });
    }
    return { isKnown, latents };
  });
  return {
    stepsDone,
    totalSteps: steps,
    tokens: pictures.map(({ latents }) => latents),
    known: pictures.map(({ isKnown }) => isKnown),
  };
}

const restore = (bytes: Uint8Array, { steps, ...shape }: Shape) =>
  decodeCheckpoint(bytes, { ...shape, steps: maskSteps({ tokenCount: shape.places, steps }) });

const SMALL: Shape = { images: 2, places: 12, channels: 3, steps: 4 };

describe("a checkpoint", () => {
  test.each<[string, Shape, number]>([
    ["of two small pictures", SMALL, 2],
    ["before the first step", SMALL, 0],
    ["after the last step", SMALL, 4],
    ["of one place", { images: 1, places: 1, channels: 1, steps: 1 }, 1],
    ["of the tiny preset", { images: 3, places: 36, channels: 16, steps: 18 }, 11],
  ])("%s gives the state back", (_, shape, stepsDone) => {
    const state = setup(shape, stepsDone);
    expect(restore(encodeCheckpoint(state), shape)).toEqual({ stepsDone, tokens: state.tokens });
  });

  test("may lie anywhere in a larger buffer", () => {
    const state = setup(SMALL, 2);
    const bytes = encodeCheckpoint(state);
    const larger = new Uint8Array(bytes.length + 10).fill(255);
    larger.set(bytes, 3);
    expect(restore(larger.subarray(3, 3 + bytes.length), SMALL).tokens).toEqual(state.tokens);
  });

  test.each([32, 64, 512])("of the largest pictures has at most 1 MiB before the last of %d steps", (steps) => {
    const shape = { images: 4, places: 4096, channels: 16, steps };
    const bytes = encodeCheckpoint(setup(shape, steps - 1));
    expect(bytes.length).toBeGreaterThan(MEBIBYTE * 0.9);
    expect(bytes.length).toBeLessThanOrEqual(MEBIBYTE);
  });
});

describe("refused is", () => {
  const refusal = (bytes: Uint8Array, shape: Shape): string => {
    try {
      restore(bytes, shape);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidRequestError);
      return (error as Error).message;
    }
    return "none";
  };

  test.each([0, 1, 2, 3, 4])("every truncation of a checkpoint after %d steps", (stepsDone) => {
    const bytes = encodeCheckpoint(setup(SMALL, stepsDone));
    for (let length = 0; length < bytes.length; length++) {
      expect(refusal(bytes.subarray(0, length), SMALL), `cut at ${length} of ${bytes.length}`).toMatch(
        /^The checkpoint does not fit this request: .*\. Start again without it\.$/,
      );
    }
  });

  test("a checkpoint with more bytes", () => {
    const bytes = encodeCheckpoint(setup(SMALL, 2));
    expect(refusal(Buffer.concat([bytes, Buffer.alloc(1)]), SMALL)).toContain("its length is wrong");
  });

  test("anything else", () => {
    const bytes = encodeCheckpoint(setup(SMALL, 2));
    bytes[0]! ^= 1;
    expect(refusal(bytes, SMALL)).toContain("it is not a checkpoint");
    expect(refusal(Buffer.from("a text that is long enough to be one"), SMALL)).toContain("it is not a checkpoint");
  });

  test.each<[string, Partial<Shape>]>([
    ["more pictures", { images: 3 }],
    ["fewer pictures", { images: 1 }],
    ["another size", { places: 16 }],
    ["other channels", { channels: 4 }],
  ])("a checkpoint for a request of %s", (_, change) => {
    const bytes = encodeCheckpoint(setup(SMALL, 2));
    expect(refusal(bytes, { ...SMALL, ...change })).toContain("it holds 2 x 12 x 3 values");
  });

  test("a checkpoint of a drawing with other steps", () => {
    expect(refusal(encodeCheckpoint(setup(SMALL, 4)), { ...SMALL, steps: 3 })).toContain("4 of 3 steps");
    expect(refusal(encodeCheckpoint(setup(SMALL, 2)), { ...SMALL, steps: 6 })).toContain(
      "places are known after 2 steps",
    );
  });
});
