/**
 * The ONNX wire format: the few messages of onnx.proto that a built graph needs, written with their field numbers.
 * Source: onnx/onnx.proto3 of ONNX 1.17 (IR version 10). Field numbers stand in front of each write.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

const ELEMENT_TYPES = { float32: 1, uint8: 2, int8: 3, int64: 7, bool: 9, float16: 10, bfloat16: 16 } as const;
export type ElementType = keyof typeof ELEMENT_TYPES;

/** What a Cast goes to. */
export const { float32: FLOAT, float16: FLOAT16 } = ELEMENT_TYPES;

/** A dimension: a number, or the name of a size that is known only at run time. */
export type Dimension = number | string;

export type AttributeValue =
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "ints"; readonly value: readonly number[] }
  | { readonly kind: "graph"; readonly value: OnnxGraph };

export interface OnnxNode {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

export interface OnnxTensor {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
  /** Little-endian bytes inside the graph file, or a place in a file beside it. */
  readonly content: Uint8Array | { readonly file: string; readonly offset: number; readonly length: number };
}

export interface OnnxValue {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly Dimension[];
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

const IR_VERSION = 10;
const OPSET_VERSION = 21;
const MICROSOFT_OPSET_VERSION = 1;

export function encodeModel(graph: OnnxGraph): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int64(IR_VERSION);
  writer.tag(2, WireType.LengthDelimited).string("atelier");
  message(writer, 7, () => writeGraph(writer, graph));
  for (const [domain, version] of [
    ["", OPSET_VERSION],
    ["com.microsoft", MICROSOFT_OPSET_VERSION],
  ] as const) {
    message(writer, 8, () => {
      writer.tag(1, WireType.LengthDelimited).string(domain);
      writer.tag(2, WireType.Varint).int64(version);
    });
  }
  return writer.finish();
}

function writeGraph(writer: BinaryWriter, graph: OnnxGraph): void {
  for (const node of graph.nodes) message(writer, 1, () => writeNode(writer, node));
  writer.tag(2, WireType.LengthDelimited).string(graph.name);
  for (const tensor of graph.initializers) message(writer, 5, () => writeTensor(writer, tensor));
  for (const value of graph.inputs) message(writer, 11, () => writeValueInfo(writer, value));
  for (const value of graph.outputs) message(writer, 12, () => writeValueInfo(writer, value));
}

function writeNode(writer: BinaryWriter, node: OnnxNode): void {
  for (const input of node.inputs) writer.tag(1, WireType.LengthDelimited).string(input);
  for (const output of node.outputs) writer.tag(2, WireType.LengthDelimited).string(output);
  writer.tag(3, WireType.LengthDelimited).string(node.name);
  writer.tag(4, WireType.LengthDelimited).string(node.opType);
  for (const [name, attribute] of Object.entries(node.attributes)) {
    message(writer, 5, () => writeAttribute(writer, name, attribute));
  }
  writer.tag(7, WireType.LengthDelimited).string(node.domain);
}

function writeAttribute(writer: BinaryWriter, name: string, attribute: AttributeValue): void {
  const typed = (type: number): BinaryWriter => writer.tag(20, WireType.Varint).int32(type);
  writer.tag(1, WireType.LengthDelimited).string(name);
  switch (attribute.kind) {
    case "float":
      writer.tag(2, WireType.Bit32).float(attribute.value);
      return void typed(1);
    case "int":
      writer.tag(3, WireType.Varint).int64(attribute.value);
      return void typed(2);
    case "string":
      writer.tag(4, WireType.LengthDelimited).bytes(new TextEncoder().encode(attribute.value));
      return void typed(3);
    case "graph":
      message(writer, 6, () => writeGraph(writer, attribute.value));
      return void typed(5);
    case "ints":
      for (const value of attribute.value) writer.tag(8, WireType.Varint).int64(value);
      return void typed(7);
  }
}

function writeTensor(writer: BinaryWriter, tensor: OnnxTensor): void {
  for (const dim of tensor.dims) writer.tag(1, WireType.Varint).int64(dim);
  writer.tag(2, WireType.Varint).int32(ELEMENT_TYPES[tensor.type]);
  writer.tag(8, WireType.LengthDelimited).string(tensor.name);
  if (tensor.content instanceof Uint8Array) {
    writer.tag(9, WireType.LengthDelimited).bytes(tensor.content);
    return;
  }
  const { file, offset, length } = tensor.content;
  for (const [key, value] of Object.entries({ location: file, offset: String(offset), length: String(length) })) {
    message(writer, 13, () => {
      writer.tag(1, WireType.LengthDelimited).string(key);
      writer.tag(2, WireType.LengthDelimited).string(value);
    });
  }
  writer.tag(14, WireType.Varint).int32(1); // data_location = EXTERNAL
}

function writeValueInfo(writer: BinaryWriter, value: OnnxValue): void {
  writer.tag(1, WireType.LengthDelimited).string(value.name);
  message(writer, 2, () =>
    message(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(ELEMENT_TYPES[value.type]);
      message(writer, 2, () => {
        for (const dim of value.dims) message(writer, 1, () => writeDimension(writer, dim));
      });
    }),
  );
}

function writeDimension(writer: BinaryWriter, dim: Dimension): void {
  if (typeof dim === "number") writer.tag(1, WireType.Varint).int64(dim);
  else writer.tag(2, WireType.LengthDelimited).string(dim);
}

function message(writer: BinaryWriter, field: number, write: () => void): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write();
  writer.join();
}
