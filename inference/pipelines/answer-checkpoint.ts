/**
 * An unfinished answer as bytes, so that another process can go on with it: "TXT1", then the ids of its tokens, all
 * uint32, little-endian.
 */
import { InvalidRequestError } from "./invalid-request.ts";

const MAGIC = 0x31545854; // "TXT1"

export const encodeAnswer = (ids: readonly number[]): Uint8Array =>
  new Uint8Array(Uint32Array.of(MAGIC, ...ids).buffer);

/** @param maxTokens of the request that is resumed */
export function decodeAnswer(bytes: Uint8Array, maxTokens: number): readonly number[] {
  const words = new Uint32Array(bytes.slice().buffer, 0, Math.floor(bytes.length / 4));
  const [magic, ...ids] = words;
  if (magic !== MAGIC || bytes.length % 4 !== 0 || ids.length > maxTokens) {
    throw new InvalidRequestError("The checkpoint does not fit this request. Start again without it.");
  }
  return ids;
}
