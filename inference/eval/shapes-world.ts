/**
 * The world that the tiny preset draws: flat shapes in eight colours on a board of 3 x 3 places, on white.
 *
 * The training code draws the same world (inference/train/world.py); a test compares the two.
 */
import type { RgbImage } from "../image/rgb-image.ts";

export const SIZE = 96;
/** Half the side of an object's box, less half a pixel. */
const RADIUS = 13;
const SUPERSAMPLING = 8;

export const SHAPES = ["circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond"] as const;
export type Shape = (typeof SHAPES)[number];

export const COLORS = {
  red: [220, 30, 30],
  orange: [245, 140, 20],
  yellow: [245, 220, 40],
  green: [30, 160, 60],
  blue: [35, 80, 220],
  purple: [140, 40, 180],
  pink: [250, 140, 190],
  cyan: [40, 200, 220],
} as const;
export type Color = keyof typeof COLORS;
export const COLOR_NAMES = Object.keys(COLORS) as readonly Color[];

/** An object of a scene; x and y are the pixel in its middle. */
export interface SceneObject {
  readonly shape: Shape;
  readonly color: Color;
  readonly x: number;
  readonly y: number;
}

export type Scene = readonly SceneObject[];

/** Middles of the board's columns and rows. */
export const PLACES = [16, 48, 80] as const;

/** Side of an object's box, in pixels. */
export const BOX = 2 * RADIUS + 1;

/** [box, box] share of each pixel that the shape covers, 0 to 1 */
export const MASKS = Object.fromEntries(SHAPES.map((shape) => [shape, maskOf(shape)])) as Readonly<
  Record<Shape, Float32Array>
>;

function maskOf(shape: Shape): Float32Array {
  const mask = new Float32Array(BOX * BOX);
  const fine = (index: number): number => ((index + 0.5) / SUPERSAMPLING - BOX / 2) / (RADIUS + 0.25);
  for (let row = 0; row < BOX * SUPERSAMPLING; row++) {
    for (let column = 0; column < BOX * SUPERSAMPLING; column++) {
      if (!isInside(shape, fine(column), fine(row))) continue;
      const pixel = Math.floor(row / SUPERSAMPLING) * BOX + Math.floor(column / SUPERSAMPLING);
      mask[pixel] = (mask[pixel] ?? 0) + 1 / SUPERSAMPLING ** 2;
    }
  }
  return mask;
}

export function render(scene: Scene): RgbImage {
  const data = new Float32Array(SIZE * SIZE * 3).fill(255);
  for (const { shape, color, x, y } of scene) {
    for (const [index, share] of MASKS[shape].entries()) {
      const pixel = (y - RADIUS + Math.floor(index / BOX)) * SIZE + x - RADIUS + (index % BOX);
      for (const [channel, level] of COLORS[color].entries()) {
        const at = 3 * pixel + channel;
        data[at] = (data[at] ?? 0) * (1 - share) + level * share;
      }
    }
  }
  return { width: SIZE, height: SIZE, data: Uint8Array.from(data, Math.round) };
}

/** x, y in [-1, 1], y downwards; every shape touches its unit box on nearly all four sides. */
function isInside(shape: Shape, x: number, y: number): boolean {
  const distance = Math.hypot(x, y);
  switch (shape) {
    case "circle":
      return distance <= 1;
    case "square":
      return Math.abs(x) <= 0.92 && Math.abs(y) <= 0.92;
    case "triangle":
      return y <= 0.9 && y >= -1 && Math.abs(x) <= (y + 1) / 1.9;
    case "diamond":
      return Math.abs(x) + Math.abs(y) <= 1;
    case "cross":
      return (Math.abs(x) <= 0.34 && Math.abs(y) <= 1) || (Math.abs(y) <= 0.34 && Math.abs(x) <= 1);
    case "ring":
      return distance <= 1 && distance >= 0.52;
    case "heart":
      return isInsideHeart(1.16 * x, 0.12 - 1.12 * y);
    case "star":
      return isInsideStar(x, y - 0.05);
  }
}

function isInsideHeart(x: number, y: number): boolean {
  return (x * x + y * y - 1) ** 3 - x * x * y ** 3 <= 0;
}

/** Five tips at radius 1.05, the first one upwards, notches at 0.42 of it. */
function isInsideStar(x: number, y: number): boolean {
  const half = Math.PI / 5;
  const turn = 2 * half;
  const angle = Math.abs(((((Math.atan2(x, -y) + half) % turn) + turn) % turn) - half); // 0 at a tip, half at a notch
  const notch = 0.42;
  const edge = notch * Math.sin(half);
  return Math.hypot(x, y) <= (1.05 * edge) / (edge * Math.cos(angle) + (1 - notch * Math.cos(half)) * Math.sin(angle));
}
