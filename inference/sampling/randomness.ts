/**
 * All randomness of one generation, from its seed alone. A number is addressed by what it is for (picture, step, draw,
 * grid place, channel), never by when it is drawn: batching, resuming and reordering cannot change it.
 */

import { normalOf } from "./normal.ts";
import { type Counter, keyOfSeed, philox } from "./philox.ts";

/** Which numbers of the diffusion noise are wanted. */
export interface NoiseDraw {
  /** Picture of the generation. */
  readonly image: number;
  /** MAR step. */
  readonly step: number;
  /** 0 is the initial state; 1 + j is the noise of reverse step j. */
  readonly draw: number;
  /** Grid places, one row of noise for each. */
  readonly places: Uint32Array;
}

export interface Randomness {
  /** The reveal order of a picture: a permutation of its grid places. */
  order(image: number, tokenCount: number): Uint32Array;
  /** Standard normal numbers into `out`: [places, channels]. */
  fillNoise(out: Float32Array, draw: NoiseDraw): void;
}

/** Counter word 3 keeps the purposes apart; its low bits are the picture. */
const NOISE = 0;
const ORDER = 1 << 24;
const TOKEN = 2 << 24;

/** @param seed an unsigned 64-bit number */
export function seededRandomness(seed: bigint): Randomness {
  const key = keyOfSeed(seed);
  const block = new Uint32Array(4);
  return {
    order(image, tokenCount) {
      const order = Uint32Array.from({ length: tokenCount }, (_, place) => place);
      for (let last = tokenCount - 1; last > 0; last--) {
        philox(key, [last, 0, 0, ORDER | image], block);
        // Scaled to 0..last: the bias is below 2^-50 for any picture.
        const other = Math.min(last, Math.floor(fractionOf(block) * (last + 1)));
        const moved = order[last] ?? 0;
        order[last] = order[other] ?? 0;
        order[other] = moved;
      }
      return order;
    },
    fillNoise(out, { image, step, draw, places }) {
      const channels = out.length / places.length;
      const blocksPerPlace = Math.ceil(channels / 4);
      for (const [row, place] of places.entries()) {
        for (let i = 0; i < blocksPerPlace; i++) {
          const counter: Counter = [place * blocksPerPlace + i, draw, step, NOISE | image];
          philox(key, counter, block);
          const end = Math.min(4, channels - 4 * i);
          for (let j = 0; j < end; j++) out[row * channels + 4 * i + j] = normalOf(block[j] ?? 0);
        }
      }
    },
  };
}

/** What decides about token `index` of an answer, 0 to below 1. @param seed an unsigned 64-bit number */
export function tokenFraction(seed: bigint, index: number): number {
  const block = new Uint32Array(4);
  philox(keyOfSeed(seed), [index, 0, 0, TOKEN], block);
  return fractionOf(block);
}

/** 53 random bits as a number from 0 to below 1. */
const fractionOf = ([high = 0, low = 0]: Uint32Array): number => (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
