/** Results inside a graph as results of the graph, so that they can be looked at. */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** Where layers multiply, add and normalise; what only moves numbers is left out. */
const COMPUTING = /^(MatMul|Gemm|Conv|Add|Mul|Gelu|QuickGelu|.*Normalization|DynamicQuantizeMatMul|MatMulNBits)$/;

/**
 * The encoded model with the results of its computing nodes among its own, and their names in the order in which they are
 * computed. A protobuf message that is appended is merged, so the model itself is copied as it is.
 */
export function withInnerResults(model: Uint8Array): { readonly model: Uint8Array; readonly names: readonly string[] } {
  const names = fields(model, 7) // graph
    .flatMap((graph) => fields(graph, 1)) // node
    .filter((node) => COMPUTING.test(fields(node, 4).map(textOf).join(""))) // op_type
    .flatMap((node) => fields(node, 2).map(textOf)) // output
    .filter((name) => name.startsWith("/"));
  const writer = new BinaryWriter();
  writer.tag(7, WireType.LengthDelimited).fork();
  for (const name of names) {
    writer.tag(12, WireType.LengthDelimited).fork(); // output
    writer.tag(1, WireType.LengthDelimited).string(name).join();
  }
  return { model: Buffer.concat([model, writer.join().finish()]), names };
}

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The length-delimited fields with this number. */
function fields(message: Uint8Array, wanted: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === wanted && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type);
  }
  return found;
}
