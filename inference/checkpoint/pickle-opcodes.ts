import type { PickleMachine } from "./pickle-machine.ts";
import type { PickleValue } from "./pickle-value.ts";

/** Longest string or bytes value: tensors' data lies outside the pickle. */
const MAX_TEXT_BYTES = 2 ** 24;
/** Longest line of a text opcode, and the longest LONG: BigInt conversion takes quadratic time. */
const MAX_LINE_BYTES = 4096;

type Operation = (machine: PickleMachine) => void;

/** Opcodes of protocols 0 to 5 by their character, as in CPython's Lib/pickle.py. STOP is the loop's own. */
const BY_CHARACTER: Readonly<Record<string, Operation>> = {
  // Stack and memo
  "(": (m) => m.mark(),
  "0": (m) => m.discard(),
  "1": (m) => void m.popToMark(), // POP_MARK
  "2": (m) => m.push(m.peek()), // DUP
  g: (m) => m.recall(readIndex(m)), // GET
  h: (m) => m.recall(m.input.readByte()), // BINGET
  j: (m) => m.recall(m.input.readUnsigned(4)), // LONG_BINGET
  p: (m) => m.memoize(readIndex(m)), // PUT
  q: (m) => m.memoize(m.input.readByte()), // BINPUT
  r: (m) => m.memoize(m.input.readUnsigned(4)), // LONG_BINPUT
  "\x94": (m) => m.memoize(), // MEMOIZE
  "\x80": (m) => void m.input.readByte(), // PROTO: the opcodes say enough
  "\x95": (m) => void m.input.readUnsigned64(), // FRAME: a hint for buffering

  // None, booleans, numbers
  N: (m) => m.push(null),
  "\x88": (m) => m.push(true),
  "\x89": (m) => m.push(false),
  I: (m) => m.push(parseInteger(m, m.input.readLine(MAX_LINE_BYTES))),
  L: (m) => m.push(parseInteger(m, m.input.readLine(MAX_LINE_BYTES).replace(/L$/, ""))),
  J: (m) => m.push(m.input.readInt32()),
  K: (m) => m.push(m.input.readUnsigned(1)),
  M: (m) => m.push(m.input.readUnsigned(2)),
  "\x8a": (m) => m.push(readLong(m, m.input.readUnsigned(1))), // LONG1
  "\x8b": (m) => m.push(readLong(m, m.input.readUnsigned(4))), // LONG4
  F: (m) => m.push(Number.parseFloat(m.input.readLine(MAX_LINE_BYTES))),
  G: (m) => m.push(m.input.readFloat64BigEndian()),

  // Text and bytes; the str of Python 2 counts as text
  S: (m) => m.push(unescapeText(m.input.readLine(MAX_LINE_BYTES).replace(/^(["'])(.*)\1$/s, "$2"))),
  V: (m) => m.push(unescapeText(m.input.readLine(MAX_LINE_BYTES))), // UNICODE
  T: (m) => m.push(readText(m, m.input.readUnsigned(4))), // BINSTRING
  U: (m) => m.push(readText(m, m.input.readUnsigned(1))), // SHORT_BINSTRING
  X: (m) => m.push(readText(m, m.input.readUnsigned(4))), // BINUNICODE
  "\x8c": (m) => m.push(readText(m, m.input.readUnsigned(1))), // SHORT_BINUNICODE
  "\x8d": (m) => m.push(readText(m, m.input.readUnsigned64())), // BINUNICODE8
  B: (m) => m.push(readBlob(m, m.input.readUnsigned(4))), // BINBYTES
  C: (m) => m.push(readBlob(m, m.input.readUnsigned(1))), // SHORT_BINBYTES
  "\x8e": (m) => m.push(readBlob(m, m.input.readUnsigned64())), // BINBYTES8
  "\x96": (m) => m.push(readBlob(m, m.input.readUnsigned64())), // BYTEARRAY8

  // Lists, tuples, sets, dicts
  "]": (m) => m.push([]),
  ")": (m) => m.push([]),
  "\x8f": (m) => m.push([]), // EMPTY_SET
  "}": (m) => m.push(new Map()),
  l: (m) => m.push(m.popToMark()), // LIST
  t: (m) => m.push(m.popToMark()), // TUPLE
  "\x91": (m) => m.push(m.popToMark()), // FROZENSET
  "\x85": (m) => m.push(m.popMany(1)), // TUPLE1
  "\x86": (m) => m.push(m.popMany(2)), // TUPLE2
  "\x87": (m) => m.push(m.popMany(3)), // TUPLE3
  d: (m) => pushDict(m, m.popToMark()), // DICT
  a: (m) => m.appendAll(m.popMany(1)), // APPEND
  e: (m) => m.appendAll(m.popToMark()), // APPENDS
  "\x90": (m) => m.appendAll(m.popToMark()), // ADDITEMS
  s: (m) => m.setAll(m.popMany(2)), // SETITEM
  u: (m) => m.setAll(m.popToMark()), // SETITEMS

  // Globals, calls, references to storages
  c: (m) => m.pushGlobal(readGlobalName(m)), // GLOBAL
  "\x93": stackGlobal,
  R: (m) => callWith(m, m.popMany(2)), // REDUCE
  "\x81": (m) => callWith(m, m.popMany(2)), // NEWOBJ
  "\x92": newObjectWithKeywords,
  i: instance,
  o: (m) => callWithMarked(m, m.popToMark()), // OBJ
  b: (m) => m.dropAttributes(), // BUILD
  P: (m) => m.pushPersistent(m.input.readLine(MAX_LINE_BYTES)), // PERSID
  Q: (m) => m.pushPersistent(m.pop()), // BINPERSID
};

export const STOP = ".".charCodeAt(0);

export const OPERATIONS: ReadonlyMap<number, Operation> = new Map(
  Object.entries(BY_CHARACTER).map(([character, operation]) => [character.charCodeAt(0), operation]),
);

function callWith(m: PickleMachine, [callee, args]: readonly PickleValue[]): void {
  m.call(callee ?? null, args ?? null);
}

function callWithMarked(m: PickleMachine, [callee, ...args]: readonly PickleValue[]): void {
  m.call(callee ?? null, args);
}

/** INST: the arguments are already on the stack when the class is named. */
function instance(m: PickleMachine): void {
  m.pushGlobal(readGlobalName(m));
  const callee = m.pop();
  m.call(callee, m.popToMark());
}

/** NEWOBJ_EX: nothing that a checkpoint may call takes keywords. */
function newObjectWithKeywords(m: PickleMachine): void {
  const keywords = m.pop();
  if (!(keywords instanceof Map) || keywords.size > 0) throw m.damaged("it passes keyword arguments");
  callWith(m, m.popMany(2));
}

function pushDict(m: PickleMachine, items: readonly PickleValue[]): void {
  m.push(new Map());
  m.setAll(items);
}

function readGlobalName(m: PickleMachine): string {
  const module = m.input.readLine(MAX_LINE_BYTES);
  return `${module}.${m.input.readLine(MAX_LINE_BYTES)}`;
}

/** STACK_GLOBAL: module and name are values, so they may be anything. */
function stackGlobal(m: PickleMachine): void {
  const [module, name] = m.popMany(2);
  if (typeof module !== "string" || typeof name !== "string") throw m.damaged("the name of a global is no text");
  m.pushGlobal(`${module}.${name}`);
}

function readIndex(m: PickleMachine): number {
  const line = m.input.readLine(MAX_LINE_BYTES);
  const index = /^\d{1,15}$/.test(line) ? Number(line) : undefined;
  if (index === undefined) throw m.damaged("a memo index is no number");
  return index;
}

/** "00" and "01" are protocol 0's False and True. */
function parseInteger(m: PickleMachine, line: string): PickleValue {
  if (line === "00") return false;
  if (line === "01") return true;
  if (!/^[+-]?\d+$/.test(line)) throw m.damaged("an integer is no number");
  return toNumberIfSafe(BigInt(line.replace("+", "")));
}

/** LONG: little-endian two's complement; no bytes mean 0. */
function readLong(m: PickleMachine, length: number): PickleValue {
  if (length > MAX_LINE_BYTES) throw m.damaged(`an integer has ${length} bytes`);
  if (length === 0) return 0;
  const hex = Buffer.from(m.input.readBytes(length)).reverse().toString("hex");
  return toNumberIfSafe(BigInt.asIntN(length * 8, BigInt(`0x${hex}`)));
}

function toNumberIfSafe(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function readText(m: PickleMachine, length: number): string {
  if (length > MAX_TEXT_BYTES) throw m.damaged(`a text has ${length} bytes`);
  return m.input.readUtf8(length);
}

function readBlob(m: PickleMachine, length: number): Uint8Array {
  if (length > MAX_TEXT_BYTES) throw m.damaged(`a bytes value has ${length} bytes`);
  return m.input.readBytes(length);
}

/** The escapes that repr() and raw-unicode-escape write; others stay as they are. */
function unescapeText(text: string): string {
  return text.replace(
    /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(0010[0-9a-fA-F]{4}|000[0-9a-fA-F]{5})|([\\'"ntr]))/g,
    unescapeOne,
  );
}

const ESCAPED: ReadonlyMap<string, string> = new Map([
  ["n", "\n"],
  ["t", "\t"],
  ["r", "\r"],
]);

function unescapeOne(_: string, byte?: string, short?: string, long?: string, character = ""): string {
  const code = byte ?? short ?? long;
  return code === undefined ? (ESCAPED.get(character) ?? character) : String.fromCodePoint(Number.parseInt(code, 16));
}
