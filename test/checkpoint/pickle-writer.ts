/** Writes pickles for tests: what CPython's pickle.dumps() would write, of protocol 0, 2 or 4, without the memo. */
export type Node =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Node[] // a tuple
  | ReadonlyMap<Node, Node>
  | { readonly list: readonly Node[] }
  | { readonly global: string }
  | { readonly call: string; readonly args: readonly Node[]; readonly state?: Node }
  | { readonly persistent: Node };

export type Protocol = 0 | 2 | 4;

export function pickle(node: Node, protocol: Protocol = 2): Buffer {
  const start = protocol === 0 ? Buffer.alloc(0) : Buffer.from([0x80, protocol]);
  return Buffer.concat([start, encode(node, protocol), Buffer.from(".")]);
}

/** Opcodes by hand, as characters of one byte each. */
export const opcodes = (...parts: readonly string[]): Buffer => Buffer.from(parts.join(""), "latin1");

export interface TensorSpec {
  readonly key: string;
  /** Class in the module torch, for example "FloatStorage". */
  readonly storage?: string;
  readonly storedCount: number;
  readonly offset?: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  /** Sixth item of a legacy storage id; zip checkpoints have five. */
  readonly view?: Node;
}

/** torch._utils._rebuild_tensor_v2 of a storage, as torch.save writes it. */
export function tensorNode(spec: TensorSpec): Node {
  const { key, storage = "FloatStorage", storedCount, offset = 0, shape, strides, view } = spec;
  const id: Node[] = ["storage", { global: `torch.${storage}` }, key, "cpu", storedCount];
  if (view !== undefined) id.push(view);
  const hooks: Node = { call: "collections.OrderedDict", args: [] };
  return { call: "torch._utils._rebuild_tensor_v2", args: [{ persistent: id }, offset, shape, strides, false, hooks] };
}

function encode(node: Node, protocol: Protocol): Buffer {
  if (node === null) return opcodes("N");
  if (typeof node === "boolean") return encodeBoolean(node, protocol);
  if (typeof node === "number" || typeof node === "bigint") return encodeNumber(node, protocol);
  if (typeof node === "string") return encodeText(node, protocol);
  const all = (nodes: Iterable<Node>): Buffer => Buffer.concat([...nodes].map((each) => encode(each, protocol)));
  if (Array.isArray(node)) return Buffer.concat([opcodes("("), all(node), opcodes("t")]);
  if (node instanceof Map) {
    const items = all([...node].flat() as Node[]);
    return protocol === 0
      ? Buffer.concat([opcodes("("), items, opcodes("d")])
      : Buffer.concat([opcodes("}("), items, opcodes("u")]);
  }
  if ("list" in node) return Buffer.concat([opcodes("]("), all(node.list), opcodes("e")]);
  if ("global" in node) return encodeGlobal(node.global, protocol);
  if ("persistent" in node) return Buffer.concat([encode(node.persistent, protocol), opcodes("Q")]);
  if (!("call" in node)) throw new Error("not a node");
  const called = [encodeGlobal(node.call, protocol), encode(node.args, protocol), opcodes("R")];
  if (node.state !== undefined) called.push(encode(node.state, protocol), opcodes("b"));
  return Buffer.concat(called);
}

function encodeBoolean(value: boolean, protocol: Protocol): Buffer {
  if (protocol === 0) return opcodes(value ? "I01\n" : "I00\n");
  return opcodes(value ? "\x88" : "\x89");
}

function encodeNumber(value: number | bigint, protocol: Protocol): Buffer {
  if (typeof value === "bigint") return protocol === 0 ? opcodes(`L${value}L\n`) : encodeLong(value);
  if (!Number.isInteger(value))
    return protocol === 0 ? opcodes(`F${value}\n`) : Buffer.concat([opcodes("G"), float64(value)]);
  if (protocol === 0) return opcodes(`I${value}\n`);
  if (value >= 0 && value < 256) return Buffer.from([0x4b, value]);
  if (value >= -(2 ** 31) && value < 2 ** 31) return Buffer.concat([opcodes("J"), int32(value)]);
  return encodeLong(BigInt(value));
}

/** LONG1 with room for the sign. */
function encodeLong(value: bigint): Buffer {
  const length = Math.floor(value.toString(2).length / 8) + 1;
  const hex = BigInt.asUintN(length * 8, value)
    .toString(16)
    .padStart(length * 2, "0");
  return Buffer.concat([Buffer.from([0x8a, length]), Buffer.from(hex, "hex").reverse()]);
}

function encodeText(text: string, protocol: Protocol): Buffer {
  if (protocol === 0) return opcodes(`V${text}\n`);
  const bytes = Buffer.from(text);
  if (protocol === 4 && bytes.length < 256) return Buffer.concat([Buffer.from([0x8c, bytes.length]), bytes]);
  return Buffer.concat([opcodes("X"), int32(bytes.length), bytes]);
}

function encodeGlobal(global: string, protocol: Protocol): Buffer {
  const dot = global.lastIndexOf(".");
  const [module, name] = [global.slice(0, dot), global.slice(dot + 1)];
  if (protocol < 4) return opcodes(`c${module}\n${name}\n`);
  return Buffer.concat([encodeText(module, protocol), encodeText(name, protocol), opcodes("\x93")]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function float64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return bytes;
}
