/**
 * The entries of a JSON file: of one list, or one a line (JSONL). They come while the file is read, so that neither the file
 * nor all of its text is in memory at a time.
 */

/** A value of the file, or why there is none. */
export type JsonEntry = { readonly place: string; readonly value: unknown } | UnreadableEntry;

/** Such as "Item 17" of a list or "Line 18". */
interface UnreadableEntry {
  readonly place: string;
  readonly problem: string;
  /** Nothing behind it can be read. */
  readonly isLast?: true;
}

/** An item has two texts of 4000 characters at most, of six bytes each as \uXXXX. */
const MAX_ENTRY_BYTES = 64 * 1024;

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const BLANKS: ReadonlySet<number> = new Set([0x20, 0x09, 0x0d, NEWLINE]);
/** What some editors put before a text in UTF-8. */
const BYTE_ORDER_MARK: ReadonlySet<number> = new Set([0xef, 0xbb, 0xbf]);

export async function* readJsonEntries(source: AsyncIterable<Uint8Array>): AsyncGenerator<JsonEntry> {
  let splitter: Splitter | undefined;
  let lines = 1;
  for await (const chunk of source) {
    let start = 0;
    for (; splitter === undefined && start < chunk.length; start++) {
      const byte = chunk[start] ?? 0;
      if (byte === NEWLINE) lines++;
      if (BLANKS.has(byte) || BYTE_ORDER_MARK.has(byte)) continue;
      splitter = byte === OPEN_LIST ? new ListSplitter() : new LineSplitter(lines);
      if (byte !== OPEN_LIST) break;
    }
    for (const entry of splitter?.push(chunk.subarray(start)) ?? []) {
      yield entry;
      if ("isLast" in entry) return;
    }
  }
  yield* splitter?.end() ?? [];
}

/** Cuts bytes into entries, whatever the pieces in which they come. */
interface Splitter {
  push(bytes: Uint8Array): Iterable<JsonEntry>;
  end(): Iterable<JsonEntry>;
}

class LineSplitter implements Splitter {
  private readonly pending = new PendingEntry();

  constructor(private line: number) {}

  *push(bytes: Uint8Array): Iterable<JsonEntry> {
    for (let start = 0; ; ) {
      const end = bytes.indexOf(NEWLINE, start);
      const isWhole = this.pending.add(bytes.subarray(start, end === -1 ? undefined : end));
      if (!isWhole) return yield tooLong(this.place);
      if (end === -1) return;
      yield* this.end();
      this.line++;
      start = end + 1;
    }
  }

  *end(): Iterable<JsonEntry> {
    if (this.pending.isBlank) this.pending.take();
    else yield parse(this.place, this.pending.take());
  }

  private get place(): string {
    return `Line ${this.line}`;
  }
}

/** Begins behind the opening bracket. */
class ListSplitter implements Splitter {
  private readonly pending = new PendingEntry();
  private index = 0;
  /** Brackets and braces of the entry that are open. */
  private depth = 0;
  private isInText = false;
  private isEscaped = false;
  private isClosed = false;

  *push(bytes: Uint8Array): Iterable<JsonEntry> {
    let start = 0;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0;
      if (this.isClosed) {
        if (BLANKS.has(byte)) continue;
        return yield { place: this.place, problem: "The list has ended before it. Send one list.", isLast: true };
      }
      if (!this.endsEntry(byte)) continue;
      if (!this.pending.add(bytes.subarray(start, i))) return yield tooLong(this.place);
      this.isClosed = byte === CLOSE_LIST;
      if (!(this.isClosed && this.index === 0 && this.pending.isBlank)) {
        yield parse(this.place, this.pending.take());
        this.index++;
      }
      start = i + 1;
    }
    if (!this.isClosed && !this.pending.add(bytes.subarray(start))) yield tooLong(this.place);
  }

  *end(): Iterable<JsonEntry> {
    if (!this.isClosed)
      yield { place: this.place, problem: "The file ends before the list does. Send all of it.", isLast: true };
  }

  /** Whether an entry ends before this byte. */
  private endsEntry(byte: number): boolean {
    if (this.isInText) {
      if (this.isEscaped) this.isEscaped = false;
      else if (byte === BACKSLASH) this.isEscaped = true;
      else if (byte === QUOTE) this.isInText = false;
      return false;
    }
    if (byte === QUOTE) this.isInText = true;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) this.depth++;
    else if (this.depth === 0) return byte === COMMA || byte === CLOSE_LIST;
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) this.depth--;
    return false;
  }

  private get place(): string {
    return `Item ${this.index}`;
  }
}

/** The bytes of an entry that has not ended yet. */
class PendingEntry {
  private pieces: Uint8Array[] = [];
  private bytes = 0;

  /** @returns false when the entry is longer than one may be */
  add(piece: Uint8Array): boolean {
    if (piece.length > 0) this.pieces.push(piece);
    this.bytes += piece.length;
    return this.bytes <= MAX_ENTRY_BYTES;
  }

  get isBlank(): boolean {
    return this.pieces.every((piece) => piece.every((byte) => BLANKS.has(byte)));
  }

  take(): Uint8Array {
    const [first = new Uint8Array(), ...others] = this.pieces;
    this.pieces = [];
    this.bytes = 0;
    return others.length === 0 ? first : Buffer.concat([first, ...others]);
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

function parse(place: string, bytes: Uint8Array): JsonEntry {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return {
      place,
      problem: "This is not text in UTF-8. Save the file in that encoding, not compressed.",
      isLast: true,
    };
  }
  try {
    return { place, value: JSON.parse(text) };
  } catch (error) {
    return { place, problem: `This is not valid JSON: ${error instanceof Error ? error.message : String(error)}.` };
  }
}

const tooLong = (place: string): JsonEntry => ({
  place,
  problem: `This is longer than ${MAX_ENTRY_BYTES} bytes. Send a list of objects, or one object a line.`,
  isLast: true,
});
