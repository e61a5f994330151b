/**
 * The one file beside the graphs that holds every large weight. Graphs refer to places in it (ONNX external data), and
 * two graphs that use the same tensor refer to the same place.
 */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";

/** A place in the weights file, in bytes. */
export interface WeightPlace {
  readonly offset: number;
  readonly length: number;
}

/** Values as they are written: fp32, integers, or the bits of a 16-bit format. */
export type WeightValues = Float32Array | Uint16Array | Int8Array;

/** Places start at page borders, so that a runtime can map them instead of reading them. */
const ALIGNMENT = 4096;
/** Smaller tensors share pages: mapping them separately gains nothing. */
const SMALL_ALIGNMENT = 64;

export class WeightsFile {
  private readonly fd: number;
  private readonly places = new Map<string, WeightPlace>();
  private end = 0;

  constructor(
    path: string,
    /** Name of the file as graphs refer to it: relative to their folder. */
    readonly fileName: string,
  ) {
    this.fd = openSync(path, "wx");
  }

  /** The place of the tensor known as `key`; `read` is called, and its result written, the first time only. */
  place(key: string, read: () => WeightValues): WeightPlace {
    const known = this.places.get(key);
    if (known !== undefined) return known;
    const values = read();
    const alignment = values.byteLength >= ALIGNMENT ? ALIGNMENT : SMALL_ALIGNMENT;
    const place = { offset: Math.ceil(this.end / alignment) * alignment, length: values.byteLength };
    this.write(Buffer.from(values.buffer, values.byteOffset, values.byteLength), place.offset);
    this.end = place.offset + place.length;
    this.places.set(key, place);
    return place;
  }

  get sizeBytes(): number {
    return this.end;
  }

  close(): void {
    fsyncSync(this.fd);
    closeSync(this.fd);
  }

  private write(bytes: Buffer, offset: number): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.fd, bytes, done, bytes.length - done, offset + done);
  }
}
