import type { CheckpointError } from "./checkpoint.ts";
import type { FileReader } from "./file-reader.ts";

/** Pickle opcodes are single bytes: they are taken from a window, not from the file one by one. */
const WINDOW_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;

/** Reads little-endian values forwards through the bytes [position, end) of a file. */
export class ByteCursor {
  private window = Buffer.alloc(0);
  private windowStart = 0;

  constructor(
    readonly file: FileReader,
    public position: number,
    private readonly end: number,
  ) {}

  get remaining(): number {
    return this.end - this.position;
  }

  failure(problem: string): CheckpointError {
    return this.file.failure(problem);
  }

  readByte(): number {
    return this.take(1).readUInt8();
  }

  /** Bytes that stay valid: a copy. */
  readBytes(length: number): Uint8Array {
    return Uint8Array.from(this.take(length));
  }

  readUtf8(length: number): string {
    return this.take(length).toString("utf8");
  }

  readUnsigned(byteCount: 1 | 2 | 4): number {
    return this.take(byteCount).readUIntLE(0, byteCount);
  }

  readInt32(): number {
    return this.take(4).readInt32LE();
  }

  /** A 64-bit count or length; one that a number cannot hold is damage. */
  readUnsigned64(): number {
    const value = this.take(8).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.failure(`is damaged: the length before byte ${this.position} is impossible. Download it again.`);
    }
    return Number(value);
  }

  /** Big-endian, as pickles write their floats. */
  readFloat64BigEndian(): number {
    return this.take(8).readDoubleBE();
  }

  /** The text up to the next line feed, which is skipped. */
  readLine(maxBytes: number): string {
    this.fill(1);
    this.fill(Math.min(maxBytes, this.remaining));
    const start = this.position - this.windowStart;
    const stop = this.window.indexOf(LINE_FEED, start);
    if (stop < 0 || stop - start > maxBytes)
      throw this.failure(`is damaged: no line ends after byte ${this.position}.`);
    this.position += stop - start + 1;
    return this.window.toString("utf8", start, stop);
  }

  skip(length: number): void {
    if (length > this.remaining) throw this.truncated(length);
    this.position += length;
  }

  /** The next bytes, valid until the next read. */
  private take(length: number): Buffer {
    this.fill(length);
    const start = this.position - this.windowStart;
    this.position += length;
    return this.window.subarray(start, start + length);
  }

  /** Makes the window cover the next `length` bytes. */
  private fill(length: number): void {
    if (length > this.remaining) throw this.truncated(length);
    const windowEnd = this.windowStart + this.window.length;
    if (this.position >= this.windowStart && this.position + length <= windowEnd) return;
    this.window = this.file.readBytes(this.position, Math.min(this.remaining, Math.max(length, WINDOW_BYTES)));
    this.windowStart = this.position;
  }

  private truncated(length: number): CheckpointError {
    return this.failure(
      `is truncated or damaged: ${length} bytes are needed at byte ${this.position}, ` +
        `but only ${Math.max(0, this.remaining)} are left. Download it again.`,
    );
  }
}
