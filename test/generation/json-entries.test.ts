import { describe, expect, test } from "vitest";
import { type JsonEntry, readJsonEntries } from "../../src/generation/json-entries.ts";

/** What a file gives that arrives in pieces of so many bytes. */
async function read(file: string | Uint8Array, pieceBytes: number): Promise<readonly JsonEntry[]> {
  const bytes = typeof file === "string" ? Buffer.from(file) : file;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let start = 0; start < bytes.length; start += pieceBytes) yield bytes.subarray(start, start + pieceBytes);
  }
  return collect(pieces());
}

async function collect(file: AsyncIterable<Uint8Array>): Promise<readonly JsonEntry[]> {
  const entries: JsonEntry[] = [];
  for await (const entry of readJsonEntries(file)) entries.push(entry);
  return entries;
}

const VALUES = [
  { prompt: 'a 5" star, [red]' },
  { prompt: "日本 \\ 🌟", steps: 3, list: [[1, "]"], {}] },
  7,
  "a,b",
  [],
  null,
];

describe.each([1, 2, 3, 7, 65_536])("in pieces of %i bytes", (pieceBytes) => {
  test.each([
    ["compact", JSON.stringify(VALUES)],
    ["indented", JSON.stringify(VALUES, undefined, 2)],
    ["with a byte order mark", `\ufeff ${JSON.stringify(VALUES)}\r\n`],
  ])("a list is read item by item: %s", async (_, file) => {
    const expected = VALUES.map((value, index) => ({ place: `Item ${index}`, value }));
    expect(await read(file, pieceBytes)).toEqual(expected);
  });

  test.each([
    ["\n", ""],
    ["\n", "\n"],
    ["\r\n", "\r\n"],
  ])("lines that end in %j are read one by one; after the last one may be %j", async (newline, end) => {
    const file = VALUES.map((value) => JSON.stringify(value)).join(newline) + end;
    const expected = VALUES.map((value, index) => ({ place: `Line ${index + 1}`, value }));
    expect(await read(file, pieceBytes)).toEqual(expected);
  });

  test("empty lines count, and are no entries", async () => {
    expect(await read('\n \n{"a": 1}\n\n\t\n{"a": 2}\n', pieceBytes)).toEqual([
      { place: "Line 3", value: { a: 1 } },
      { place: "Line 6", value: { a: 2 } },
    ]);
  });

  test.each(["", " \n\t", "[]", " [ \n ] "])("%j has no entries", async (file) => {
    expect(await read(file, pieceBytes)).toEqual([]);
  });

  test.each<[string, string | Uint8Array, string, RegExp]>([
    ["a line that is no JSON", '{"a": 1}\n{"a"\n', "Line 2", /^This is not valid JSON: /],
    ["an item that is no JSON", '[{"a": 1}, {"a"}]', "Item 1", /^This is not valid JSON: /],
    ["a comma too many", '[{"a": 1}, ]', "Item 1", /^This is not valid JSON: /],
    ["a list that was cut off", '[{"a": 1}, {"a"', "Item 1", /^The file ends before the list does\. /],
    ["a list that was cut off between items", '[{"a": 1},', "Item 1", /^The file ends before the list does\. /],
    ["more behind the list", '[{"a": 1}]\n[2]', "Item 1", /^The list has ended before it\. /],
    ["another encoding", Buffer.from('{"a": 1}\n{"a": "é"}', "latin1"), "Line 2", /^This is not text in UTF-8\. /],
    ["UTF-16", Buffer.from('\ufeff{"a": 1}', "utf16le"), "Line 1", /^This is not text in UTF-8\. /],
  ])("%s is told with its place", async (_, file, place, problem) => {
    const last = (await read(file, pieceBytes)).at(-1);
    expect(last).toMatchObject({ place, problem: expect.stringMatching(problem) });
  });
});

test("an entry that never ends is given up before it fills the memory", async () => {
  async function* endless(start: string): AsyncGenerator<Uint8Array> {
    yield Buffer.from(start);
    for (;;) yield Buffer.alloc(1000, "x");
  }
  for (const [start, place] of [
    ['[{"prompt": "', "Item 0"],
    ['{"prompt": "', "Line 1"],
  ] as const) {
    expect(await collect(endless(start))).toEqual([
      { place, problem: expect.stringContaining("longer than 65536 bytes"), isLast: true },
    ]);
  }
});
