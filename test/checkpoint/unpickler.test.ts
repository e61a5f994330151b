import { describe, expect, onTestFinished, test } from "vitest";
import { ByteCursor } from "../../inference/checkpoint/byte-cursor.ts";
import { CheckpointError } from "../../inference/checkpoint/checkpoint.ts";
import { FileReader } from "../../inference/checkpoint/file-reader.ts";
import type { PickleValue } from "../../inference/checkpoint/pickle-value.ts";
import { unpickle } from "../../inference/checkpoint/unpickler.ts";
import { floats, writeTorchLegacy, writeTorchZip } from "./checkpoint-writer.ts";
import { type Node, opcodes, type Protocol, pickle, tensorNode } from "./pickle-writer.ts";
import { createFile, openForTest, readAll } from "./temporary-folder.ts";

const STORAGES = { 0: floats(1, 2, 3, 4) };
const tensor = tensorNode({ key: "0", storedCount: 4, shape: [2, 2], strides: [2, 1] });
const open = (data: Buffer) => openForTest(writeTorchZip(data, STORAGES));

describe("an allowed pickle", () => {
  test.each<Protocol>([0, 2, 4])("of protocol %i gives its tensors", (protocol) => {
    const top = new Map<Node, Node>([
      ["numbers", [-1, 300, 70_000, 2 ** 40, -(2n ** 70n), 0.5, true, null]],
      ["list", { list: ["a", tensor] }],
      ["x", tensor],
    ]);
    const all = readAll(writeTorchZip(pickle(top, protocol), STORAGES));
    expect([...all]).toEqual([["x", Float32Array.of(1, 2, 3, 4)]]);
  });

  test("may hold parameters, sizes, dtypes and an OrderedDict with metadata", () => {
    const hooks: Node = { call: "collections.OrderedDict", args: [] };
    const pairs: Node = { list: [["p", { call: "torch._utils._rebuild_parameter", args: [tensor, true, hooks] }]] };
    const metadata: Node = new Map([["_metadata", hooks]]);
    const withState: Node = {
      call: "torch._utils._rebuild_parameter_with_state",
      args: [tensor, true, hooks, new Map()],
    };
    const top = new Map<Node, Node>([
      ["dtype", { global: "torch.float32" }],
      ["size", { call: "torch.Size", args: [[2, 2]] }],
      ["state", { call: "collections.OrderedDict", args: [pairs], state: metadata }],
      ["with_state", withState],
    ]);
    expect([...readAll(writeTorchZip(pickle(top), STORAGES)).keys()]).toEqual(["state.p", "with_state"]);
  });

  test("may use __proto__ and constructor as keys, which mean nothing", () => {
    const top = new Map<Node, Node>([
      ["__proto__", new Map<Node, Node>([["polluted", tensor]])],
      ["constructor", tensor],
    ]);
    const checkpoint = open(pickle(top));
    expect(checkpoint.names).toEqual(["__proto__.polluted", "constructor"]);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  test("may recall what it stored in the memo, and drop values", () => {
    // {"a": t, "b": t} with PUT/GET, BINPUT/BINGET, MEMOIZE, a DUP, a POP and a POP_MARK on the way
    const body = pickle(tensor).subarray(2, -1);
    const data = Buffer.concat([
      opcodes("\x80\x04}(X\x01\0\0\0a"),
      body,
      opcodes("\x94p5\n20", "(K\x01K\x022", "1", "X\x01\0\0\0bg5\nq\x07", "u."),
    ]);
    expect([...readAll(writeTorchZip(data, STORAGES)).keys()]).toEqual(["a", "b"]);
  });
});

describe("the values of a pickle", () => {
  test.each<[string, Buffer, PickleValue]>([
    ["booleans", opcodes("(I00\nI01\n\x88\x89Nt."), [false, true, true, false, null]],
    ["integers in text", opcodes("(I-7\nL12L\nL-1180591620717411303424L\nt."), [-7, 12, -(2n ** 70n)]],
    ["integers in bytes", opcodes("(K\xffM\x01\xffJ\xfe\xff\xff\xfft."), [255, 0xff01, -2]],
    [
      "long integers",
      opcodes("(\x8a\0\x8a\x01\xff\x8a\x02\xff\0\x8b\x05\0\0\0\0\0\0\0\x80t."),
      [0, -1, 255, -(2 ** 39)],
    ],
    [
      "integers beyond 2^53",
      opcodes("(\x8a\x08\x01\0\0\0\0\0\0\x40\x8a\x07\0\0\0\0\0\0\x20t."),
      [2n ** 62n + 1n, 2n ** 53n],
    ],
    ["floats", opcodes("(F-2.5e3\nG\x3f\xf8\0\0\0\0\0\0t."), [-2500, 1.5]],
    ["texts of Python 2", opcodes("(S'it\\'s'\nS\"a\\x41\\n\"\nU\x02hiT\x02\0\0\0hot."), ["it's", "aA\n", "hi", "ho"]],
    [
      "unicode texts",
      opcodes("(Vh\\u00e9\\U0001f600\nX\x02\0\0\0\xc3\xa9\x8d\x01\0\0\0\0\0\0\0xt."),
      ["h\u00e9\u{1f600}", "\u00e9", "x"],
    ],
    [
      "bytes",
      opcodes("(C\x01\xffB\x01\0\0\0a\x96\x01\0\0\0\0\0\0\0bt."),
      [Uint8Array.of(255), Uint8Array.of(97), Uint8Array.of(98)],
    ],
    ["sequences", opcodes("((lp0\nK\x01a\x8f(K\x02\x90(K\x03\x91K\x04\x85t."), [[1], [2], [3], [4]]],
    ["dicts", opcodes("((K\x01Nd}K\x02Nst."), [new Map([[1, null]]), new Map([[2, null]])]],
    ["long memo indexes", opcodes("(K\x05r\0\0\x01\0j\0\0\x01\0t."), [5, 5]],
  ])("include %s", (_, data, expected) => {
    const file = FileReader.open(createFile(data));
    onTestFinished(() => file.close());
    const nothing = { findGlobal: () => undefined, findPersistent: () => undefined };
    const cursor = new ByteCursor(file, 0, file.sizeBytes);
    expect(unpickle(cursor, nothing)).toEqual(expected);
    expect(cursor.remaining).toBe(0);
  });
});

/** Every way that a pickle has to call `name` of `module`. */
const attacks: readonly [how: string, data: Buffer, callable: string][] = [
  ["GLOBAL and REDUCE", opcodes("\x80\x02cos\nsystem\n(X\x02\0\0\0idtR."), "os.system"],
  ["protocol 0", opcodes("cposix\nsystem\n(S'id'\ntR."), "posix.system"],
  ["STACK_GLOBAL", opcodes("\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R."), "builtins.eval"],
  ["STACK_GLOBAL with memoized names", opcodes("\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\0h\x01\x93."), "os.system"],
  ["INST", opcodes("\x80\x02(X\x02\0\0\0idios\nsystem\n."), "os.system"],
  ["OBJ", opcodes("\x80\x02(c__builtin__\nexec\nX\x01\0\0\x001o."), "__builtin__.exec"],
  ["NEWOBJ", opcodes("\x80\x02csubprocess\nPopen\nX\x02\0\0\0id\x85\x81."), "subprocess.Popen"],
  ["NEWOBJ_EX", opcodes("\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93)}\x92."), "subprocess.Popen"],
  [
    "BUILD with __setstate__",
    opcodes("\x80\x02ccollections\nOrderedDict\n)R}X\x0c\0\0\0__setstate__cos\nsystem\nsbX\x02\0\0\0idb."),
    "os.system",
  ],
  ["an attribute of an allowed module", opcodes("\x80\x02ctorch\nload\n(X\x01\0\0\0xtR."), "torch.load"],
  ["a nested pickle", opcodes("\x80\x02ctorch.storage\n_load_from_bytes\n(C\x00tR."), "torch.storage._load_from_bytes"],
  ["a dotted name", opcodes("\x80\x04\x8c\x05torch\x8c\x09os.system\x93."), "torch.os.system"],
  ["getattr", opcodes("\x80\x02c__builtin__\ngetattr\n."), "__builtin__.getattr"],
  ["copyreg", opcodes("\x80\x02ccopy_reg\n_reconstructor\n."), "copy_reg._reconstructor"],
  ["a JavaScript name", opcodes("\x80\x02cObject\nprototype\n."), "Object.prototype"],
];

describe("a pickle that calls anything else", () => {
  test.each(attacks)("through %s is refused and the callable named", (_, data, callable) => {
    const expected = `wants to call ${callable}; a checkpoint must contain only tensors`;
    expect(() => open(data)).toThrow(CheckpointError);
    expect(() => open(data)).toThrow(expected);
  });

  test("is refused in every pickle of the legacy format", () => {
    const evil: Node = { call: "os.system", args: ["id"] };
    expect(() => openForTest(writeTorchLegacy(evil, []))).toThrow(/wants to call os.system/);
  });

  test("is refused even where its value would be passed over", () => {
    const top = new Map<Node, Node>([
      ["model", new Map([["x", tensor]])],
      ["args", { call: "argparse.Namespace", args: [] }],
    ]);
    expect(() => openForTest(writeTorchZip(pickle(top), STORAGES), "model")).toThrow(
      /wants to call argparse.Namespace/,
    );
  });
});

describe("a pickle that misuses what is allowed is refused:", () => {
  test.each<[string, Buffer]>([
    ["calling a storage class", opcodes("\x80\x02ctorch\nFloatStorage\n)R.")],
    ["calling a dtype", opcodes("\x80\x02ctorch\nfloat32\n)R.")],
    ["calling a text", opcodes("\x80\x02X\x02\0\0\0id)R.")],
    ["calling the result of a call", opcodes("\x80\x02ccollections\nOrderedDict\n)R)R.")],
    ["arguments that are no tuple", opcodes("\x80\x02ccollections\nOrderedDict\nNR.")],
    ["keywords", opcodes("\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)}N\x88s\x92.")],
    ["BUILD on a class", opcodes("\x80\x02ccollections\nOrderedDict\n}b.")],
    ["BUILD on a tensor", Buffer.concat([pickle(tensor).subarray(0, -1), opcodes("}b.")])],
    ["BUILD with a state that is no dict", opcodes("\x80\x02ccollections\nOrderedDict\n)RX\x01\0\0\0xb.")],
    [
      "a tensor of no storage",
      pickle(new Map([["x", { call: "torch._utils._rebuild_tensor_v2", args: [1, 0, [], []] }]])),
    ],
    ["a module as persistent id", pickle({ persistent: ["module", "torch.nn.Linear", "x.py", "source"] })],
    ["a storage class made of text", pickle({ persistent: ["storage", "FloatStorage", "0", "cpu", 4] })],
    ["a text persistent id", opcodes("P0\n.")],
    ["STACK_GLOBAL of lists that contain themselves", opcodes("\x80\x04]2a]2a\x93.")],
    ["a registered extension", opcodes("\x80\x02\x82\x01.")],
    ["an out-of-band buffer", opcodes("\x80\x05\x97.")],
    ["setting items of a list", opcodes("\x80\x02]NNs.")],
    ["appending to a dict", opcodes("\x80\x02}Na.")],
    ["a key without a value", opcodes("\x80\x02}(Nu.")],
    ["an empty stack", opcodes("\x80\x020.")],
    ["no result", opcodes("\x80\x02.")],
    ["values from below a mark", opcodes("\x80\x02}N(\x8500.")],
    ["a mark that was never set", opcodes("\x80\x02t.")],
    ["a memo entry that was never stored", opcodes("\x80\x02h\x07.")],
    ["a memo index that is no number", opcodes("g1e3\n.")],
    ["an integer that is no number", opcodes("I0x10\n.")],
    ["an integer of 4 GB", opcodes("\x80\x02\x8b\xff\xff\xff\xff.")],
    ["a text of 4 GB", opcodes("\x80\x02X\xff\xff\xff\xff.")],
    ["a text of 2^63 bytes", opcodes("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.")],
    ["bytes beyond the end", opcodes("\x80\x04C\x09ab.")],
    ["a line that does not end", opcodes(`V${"x".repeat(100_000)}`)],
    ["a top value that is no dict", pickle({ list: [tensor] })],
  ])("%s", (_, data) => {
    expect(() => open(data)).toThrow(CheckpointError);
  });
});

describe("a pickle that would take for ever is refused:", () => {
  test("a dict that contains itself", () => {
    expect(() => open(opcodes("\x80\x02}q\0X\x01\0\0\0ah\0s."))).toThrow(/nests its dicts without end/);
  });

  test("dicts that share each other on endless paths", () => {
    const level = (below: number, index: number): string =>
      `}(${[..."abcdefgh"].map((key) => `X\x01\0\0\0${key}h${String.fromCharCode(below)}`).join("")}uq${String.fromCharCode(index)}`;
    const levels = Array.from({ length: 24 }, (_, i) => level(i, i + 1));
    expect(() => open(opcodes("\x80\x02}q\0", ...levels, "."))).toThrow(/nests its dicts without end/);
  });

  test("one long list turned into a dict again and again", () => {
    const list = `](${"NN\x86".repeat(50_000)}eq\0`;
    const again = "ccollections\nOrderedDict\nq\x01h\0\x85R0";
    const repeat = "h\x01h\0\x85R0".repeat(20_000);
    expect(() => open(opcodes("\x80\x02", list, again, repeat, "}."))).toThrow(/more objects than any checkpoint/);
  });

  test("a stack of millions", () => {
    expect(() => open(Buffer.alloc(2 ** 21, "N"))).toThrow(/stack grows beyond all measure/);
    expect(() => open(Buffer.alloc(2 ** 21, "("))).toThrow(/stack grows beyond all measure/);
  });

  test("tuples nested a million deep, which end where recursion would not", () => {
    const data = opcodes("\x80\x02}X\x01\0\0\0a)", "\x85".repeat(1_000_000), "s.");
    expect(open(data).names).toEqual([]);
  });
});
