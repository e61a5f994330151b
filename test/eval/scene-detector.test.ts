import { readFileSync } from "node:fs";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { detectScene } from "../../inference/eval/scene-detector.ts";
import {
  COLOR_NAMES,
  PLACES,
  render,
  type Scene,
  type SceneObject,
  SHAPES,
  SIZE,
} from "../../inference/eval/shapes-world.ts";
import type { RgbImage } from "../../inference/image/rgb-image.ts";
import { seededRandomness } from "../../inference/sampling/randomness.ts";

const RECORDED = new URL("shapes-world/", import.meta.url);
const COLUMNS = 6;

/** Scene `number` of a series: 1 to 4 objects on places of their own. */
function sceneOf(number: number): Scene {
  const { order } = seededRandomness(BigInt(number));
  return [...order(0, 9).slice(0, 1 + (number % 4))].map((place, index) => ({
    shape: SHAPES[(number + 3 * index) % SHAPES.length]!,
    color: COLOR_NAMES[(order(1, 8)[0]! + index) % COLOR_NAMES.length]!,
    x: PLACES[place % 3]!,
    y: PLACES[Math.floor(place / 3)]!,
  }));
}

function withNoise({ data, ...image }: RgbImage, sigma: number, seed: bigint): RgbImage {
  const noise = new Float32Array(data.length);
  const places = Uint32Array.from({ length: data.length / 3 }, (_, place) => place);
  seededRandomness(seed).fillNoise(noise, { image: 0, step: 0, draw: 0, places });
  const noisy = Uint8Array.from(data, (level, i) => Math.max(0, Math.min(255, Math.round(level + sigma * noise[i]!))));
  return { ...image, data: noisy };
}

const sorted = (objects: readonly SceneObject[]): string[] =>
  objects.map(({ shape, color, x, y }) => `${color} ${shape} ${Math.round(x / 4)} ${Math.round(y / 4)}`).sort();

const isFound = (scene: Scene, image: RgbImage): boolean => {
  const { objects, specks } = detectScene(image);
  return specks === 0 && sorted(objects as SceneObject[]).join() === sorted(scene).join();
};

describe("the scene detector", () => {
  test.each([
    ["clean", 0],
    ["noisy", 12],
  ])("finds every object of at least 99 of 100 %s renders", (_, sigma) => {
    const scenes = Array.from({ length: 200 }, (_, number) => sceneOf(number));
    const found = scenes.filter((scene, i) => isFound(scene, withNoise(render(scene), sigma, BigInt(i))));
    expect(found.length).toBeGreaterThanOrEqual(0.99 * scenes.length);
  });

  test("finds nothing on an empty board, and calls small pieces specks", () => {
    const empty = render([]);
    expect(detectScene(empty)).toEqual({ objects: [], specks: 0 });
    for (const [x, y] of [0, 1, 2, 3, 4].flatMap((x) => [0, 1, 2, 3, 4].map((y) => [x, y] as const)))
      empty.data.fill(0, 3 * ((40 + y) * SIZE + 40 + x), 3 * ((40 + y) * SIZE + 41 + x));
    expect(detectScene(empty)).toEqual({ objects: [], specks: 1 });
  });
});

test("the world is the one that the training code draws", async () => {
  const scenes: Scene[] = JSON.parse(readFileSync(new URL("scenes.json", RECORDED), "utf8"));
  const { data, info } = await sharp(readFileSync(new URL("scenes.png", RECORDED)))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  for (const [index, scene] of scenes.entries()) {
    const left = (index % COLUMNS) * SIZE;
    const top = Math.floor(index / COLUMNS) * SIZE;
    const ours = render(scene).data;
    let worst = 0;
    for (let y = 0; y < SIZE; y++) {
      for (let i = 0; i < 3 * SIZE; i++) {
        const theirs = data[3 * ((top + y) * info.width + left) + i]!;
        worst = Math.max(worst, Math.abs(theirs - ours[3 * y * SIZE + i]!));
      }
    }
    expect(worst).toBeLessThanOrEqual(1);
  }
});
