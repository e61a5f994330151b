import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { crc32 } from "node:zlib";
import { CheckpointError } from "./checkpoint.ts";

/** One readSync must stay below 2 GiB (ERR_OUT_OF_RANGE); from some MiB on, larger reads are not faster. */
const MAX_READ_BYTES = 64 * 1024 * 1024;
/** Checksums go through one buffer of this size; from 64 KiB to 4 MiB they take 0.4 s a GB (two cores, file in memory). */
const CHECKSUM_BYTES = 512 * 1024;

/** An open file that gives exactly the bytes asked for, or a CheckpointError. */
export class FileReader {
  private constructor(
    readonly path: string,
    readonly sizeBytes: number,
    private descriptor: number | undefined,
  ) {}

  static open(path: string): FileReader {
    try {
      const descriptor = openSync(path, "r");
      const status = fstatSync(descriptor);
      if (status.isFile()) return new FileReader(path, status.size, descriptor);
      closeSync(descriptor);
    } catch (cause) {
      throw new CheckpointError(`${path}: cannot be opened (${reasonOf(cause)}). Check the path and its permissions.`, {
        cause,
      });
    }
    throw new CheckpointError(`${path}: is not a file. Give the path of the checkpoint file itself.`);
  }

  /** A failure of this file: `problem` starts with a verb, for example "is empty". */
  failure(problem: string, cause?: unknown): CheckpointError {
    return new CheckpointError(`${this.path}: ${problem}`, cause === undefined ? undefined : { cause });
  }

  /** For headers and names; tensors are read into place with readInto(). */
  readBytes(position: number, length: number): Buffer<ArrayBuffer> {
    this.checkBounds(position, length);
    const target = Buffer.alloc(length);
    this.readInto(target, position);
    return target;
  }

  /** Fills `target` with the bytes that start at `position`. */
  readInto(target: Uint8Array, position: number): void {
    const descriptor = this.descriptor;
    if (descriptor === undefined) throw this.failure("is closed already. Open it again.");
    this.checkBounds(position, target.length);
    let done = 0;
    while (done < target.length) {
      const read = this.readOnce(descriptor, target.subarray(done, done + MAX_READ_BYTES), position + done);
      if (read === 0) throw this.failure(`ends at byte ${position + done}: it became shorter while it was read.`);
      done += read;
    }
  }

  /** CRC-32 of the bytes that start at `position`, as zip archives store it. */
  checksum(position: number, length: number): number {
    const buffer = Buffer.alloc(Math.min(CHECKSUM_BYTES, length));
    let result = 0;
    for (let done = 0; done < length; done += buffer.length) {
      const chunk = buffer.subarray(0, length - done);
      this.readInto(chunk, position + done);
      result = crc32(chunk, result);
    }
    return result;
  }

  close(): void {
    if (this.descriptor === undefined) return;
    closeSync(this.descriptor);
    this.descriptor = undefined;
  }

  private checkBounds(position: number, length: number): void {
    if (position >= 0 && length >= 0 && position + length <= this.sizeBytes) return;
    throw this.failure(
      `is truncated or damaged: bytes ${position} to ${position + length} are needed, ` +
        `but it has ${this.sizeBytes}. Download it again.`,
    );
  }

  private readOnce(descriptor: number, target: Uint8Array, position: number): number {
    try {
      return readSync(descriptor, target, 0, target.length, position);
    } catch (cause) {
      throw this.failure(`cannot be read (${reasonOf(cause)}).`, cause);
    }
  }
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
