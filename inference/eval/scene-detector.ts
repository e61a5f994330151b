/** Finds the objects of a picture by segmentation and comparison with the world's own shapes. No model is involved. */
import type { RgbImage } from "../image/rgb-image.ts";
import { BOX, COLOR_NAMES, COLORS, type Color, MASKS, SHAPES, type Shape } from "./shapes-world.ts";

/** Distance from the background, in RGB levels, from which a pixel belongs to an object. */
const FOREGROUND_DISTANCE = 55;
/** Pixels. Smaller pieces are specks: the smallest are ignored, the others make a picture impure. */
const MIN_AREA = 60;
const MIN_SPECK_AREA = 20;
/** Share of an object's pixels, those least like it first, that have no say in its colour: its soft edge. */
const EDGE_SHARE = 0.4;
const TEMPLATE_SIDE = 24;
const MIN_OVERLAP = 0.55;
/** Height by width beyond which a piece is no single object. */
const MAX_ASPECT = 1.55;

export interface DetectedObject {
  /** Undefined when it is like none of them. */
  readonly shape: Shape | undefined;
  readonly color: Color;
  /** Middle of its box. */
  readonly x: number;
  readonly y: number;
}

export interface DetectedScene {
  readonly objects: readonly DetectedObject[];
  /** Pieces that are too small to be objects. */
  readonly specks: number;
}

export function detectScene(image: RgbImage): DetectedScene {
  const distances = distancesFrom(backgroundOf(image), image);
  const pieces = connectedPieces(distances, image.width).filter((piece) => piece.length >= MIN_SPECK_AREA);
  const objects = pieces.filter((piece) => piece.length >= MIN_AREA);
  return {
    objects: objects.map((piece) => describe(piece, image, distances)),
    specks: pieces.length - objects.length,
  };
}

/** Median colour of a border of three pixels. */
function backgroundOf({ width, height, data }: RgbImage): readonly number[] {
  const border: number[] = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (Math.min(x, y, width - 1 - x, height - 1 - y) < 3) border.push(3 * (y * width + x));
    }
  }
  return [0, 1, 2].map((channel) => median(border.map((at) => data[at + channel] ?? 0)));
}

/** [height, width] Euclidean distance in RGB */
function distancesFrom(color: readonly number[], { width, height, data }: RgbImage): Float32Array {
  return Float32Array.from({ length: width * height }, (_, pixel) => distance(data, 3 * pixel, color));
}

function distance(data: Uint8Array, at: number, [red = 0, green = 0, blue = 0]: readonly number[]): number {
  const [r, g, b] = [(data[at] ?? 0) - red, (data[at + 1] ?? 0) - green, (data[at + 2] ?? 0) - blue];
  return Math.sqrt(r * r + g * g + b * b);
}

/** Pixels of each 4-connected piece of the foreground. */
function connectedPieces(distances: Float32Array, width: number): readonly (readonly number[])[] {
  const isLeft = Uint8Array.from(distances, (value) => (value > FOREGROUND_DISTANCE ? 1 : 0));
  const pieces: number[][] = [];
  for (const start of isLeft.keys()) {
    if (isLeft[start] === 0) continue;
    isLeft[start] = 0;
    const piece = [start];
    for (let next = 0; next < piece.length; next++) {
      const pixel = piece[next] ?? 0;
      const x = pixel % width;
      for (const neighbour of [x > 0 ? pixel - 1 : -1, x < width - 1 ? pixel + 1 : -1, pixel - width, pixel + width]) {
        if (!isLeft[neighbour]) continue;
        isLeft[neighbour] = 0;
        piece.push(neighbour);
      }
    }
    pieces.push(piece);
  }
  return pieces;
}

function describe(piece: readonly number[], image: RgbImage, distances: Float32Array): DetectedObject {
  const xs = piece.map((pixel) => pixel % image.width);
  const ys = piece.map((pixel) => Math.floor(pixel / image.width));
  const box = { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  const width = box.right - box.left + 1;
  const height = box.bottom - box.top + 1;
  const mask = new Float32Array(width * height);
  for (const [i, x] of xs.entries()) mask[((ys[i] ?? 0) - box.top) * width + x - box.left] = 1;
  return {
    shape: shapeOf(mask, { width, height }),
    color: colorOf(piece, image, distances),
    x: (box.left + box.right) / 2,
    y: (box.top + box.bottom) / 2,
  };
}

/** By vote of the pixels that differ most from the background. */
function colorOf(piece: readonly number[], { data }: RgbImage, distances: Float32Array): Color {
  const sorted = [...piece].sort((a, b) => (distances[a] ?? 0) - (distances[b] ?? 0));
  const votes = new Map<Color, number>();
  for (const pixel of sorted.slice(Math.floor(EDGE_SHARE * sorted.length))) {
    const distanceTo = (name: Color): number => distance(data, 3 * pixel, COLORS[name]);
    const nearest = COLOR_NAMES.reduce((best, name) => (distanceTo(name) < distanceTo(best) ? name : best));
    votes.set(nearest, (votes.get(nearest) ?? 0) + 1);
  }
  return [...votes].reduce((best, vote) => (vote[1] > best[1] ? vote : best))[0];
}

interface Box {
  readonly width: number;
  readonly height: number;
}

function shapeOf(mask: Float32Array, box: Box): Shape | undefined {
  const aspect = box.height / box.width;
  if (aspect > MAX_ASPECT || aspect < 1 / MAX_ASPECT) return undefined;
  const piece = resized(mask, box);
  const overlaps = TEMPLATES.map(({ shape, template }) => ({ shape, overlap: overlapOf(piece, template) }));
  const best = overlaps.reduce((a, b) => (b.overlap > a.overlap ? b : a));
  return best.overlap >= MIN_OVERLAP ? best.shape : undefined;
}

/** [24, 24], each value the mean of 4 x 4 samples of a [height, width] mask */
function resized(mask: Float32Array, { width, height }: Box): Float32Array {
  const result = new Float32Array(TEMPLATE_SIDE ** 2);
  const fine = 4 * TEMPLATE_SIDE;
  for (let row = 0; row < fine; row++) {
    for (let column = 0; column < fine; column++) {
      const y = Math.min(height - 1, Math.floor(((row + 0.5) * height) / fine));
      const x = Math.min(width - 1, Math.floor(((column + 0.5) * width) / fine));
      const at = Math.floor(row / 4) * TEMPLATE_SIDE + Math.floor(column / 4);
      result[at] = (result[at] ?? 0) + (mask[y * width + x] ?? 0) / 16;
    }
  }
  return result;
}

/** Intersection over union of soft masks. */
function overlapOf(a: Float32Array, b: Float32Array): number {
  let both = 0;
  let either = 0;
  for (const [i, value] of a.entries()) {
    both += Math.min(value, b[i] ?? 0);
    either += Math.max(value, b[i] ?? 0);
  }
  return both / either;
}

const TEMPLATES = SHAPES.map((shape) => ({ shape, template: templateOf(shape) }));

function templateOf(shape: Shape): Float32Array {
  const covered = [...MASKS[shape].entries()].filter(([, share]) => share > 0.5).map(([pixel]) => pixel);
  const xs = covered.map((pixel) => pixel % BOX);
  const ys = covered.map((pixel) => Math.floor(pixel / BOX));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const box = { width: Math.max(...xs) - left + 1, height: Math.max(...ys) - top + 1 };
  const mask = new Float32Array(box.width * box.height);
  for (const [i, x] of xs.entries()) mask[((ys[i] ?? 0) - top) * box.width + x - left] = 1;
  return resized(mask, box);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
