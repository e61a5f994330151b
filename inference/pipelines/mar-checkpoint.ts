/**
 * The state of an unfinished generation as bytes, so that another process can go on with it.
 *
 * Layout, little-endian: "MAR1", then as uint32 steps done, pictures, N, C; then for each picture one bit per place (1 =
 * known; bytes padded with zeros) and the float32 latents of its known places in raster order.
 */
import type { MaskStep } from "../sampling/mask-schedule.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import type { MarProgress, MarState } from "./mar-sampler.ts";

const MAGIC = 0x3152414d; // "MAR1"
const HEADER_BYTES = 20;

export function encodeCheckpoint({ stepsDone, tokens, known }: MarProgress): Uint8Array {
  const places = known[0]?.length ?? 0;
  const channels = (tokens[0]?.length ?? 0) / places;
  const header = Uint32Array.of(MAGIC, stepsDone, tokens.length, places, channels);
  const parts: Uint8Array[] = [new Uint8Array(header.buffer)];
  for (const [image, latents] of tokens.entries()) {
    const isKnown = known[image] ?? new Uint8Array(places);
    const bits = new Uint8Array(Math.ceil(places / 8));
    const rows: Float32Array[] = [];
    for (let place = 0; place < places; place++) {
      if (isKnown[place] === 0) continue;
      bits[place >> 3] = (bits[place >> 3] ?? 0) | (1 << (place & 7));
      rows.push(latents.subarray(place * channels, (place + 1) * channels));
    }
    parts.push(bits, ...rows.map((row) => new Uint8Array(row.buffer, row.byteOffset, row.byteLength)));
  }
  return Buffer.concat(parts);
}

/** @param expected the shape of the request that is resumed; other checkpoints are refused */
export function decodeCheckpoint(
  bytes: Uint8Array,
  expected: { images: number; places: number; channels: number; steps: readonly MaskStep[] },
): MarState {
  const refuse = (what: string): never => {
    throw new InvalidRequestError(`The checkpoint does not fit this request: ${what}. Start again without it.`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) return refuse("it is not a checkpoint");
  const [stepsDone, images, places, channels] = [4, 8, 12, 16].map((offset) => view.getUint32(offset, true)) as [
    number,
    number,
    number,
    number,
  ];
  if (images !== expected.images || places !== expected.places || channels !== expected.channels) {
    return refuse(`it holds ${images} x ${places} x ${channels} values`);
  }
  const { steps } = expected;
  if (stepsDone > steps.length) return refuse(`it stands at ${stepsDone} of ${steps.length} steps`);
  const visible = steps[stepsDone]?.visible ?? places;
  let offset = HEADER_BYTES;
  const tokens = Array.from({ length: images }, () => {
    const latents = new Float32Array(places * channels);
    const bits = bytes.subarray(offset, offset + Math.ceil(places / 8));
    offset += Math.ceil(places / 8);
    let knownCount = 0;
    for (let place = 0; place < places; place++) {
      if (((bits[place >> 3] ?? 0) & (1 << (place & 7))) === 0) continue;
      if (offset + 4 * channels > bytes.length) return refuse("it is cut off");
      for (let c = 0; c < channels; c++) latents[place * channels + c] = view.getFloat32(offset + 4 * c, true);
      offset += 4 * channels;
      knownCount++;
    }
    if (knownCount !== visible)
      return refuse(`${knownCount} places are known after ${stepsDone} steps, not ${visible}`);
    return latents;
  });
  if (offset !== bytes.length) return refuse("its length is wrong");
  return { stepsDone, tokens };
}
