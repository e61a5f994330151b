/**
 * Builds one ONNX graph by plain function calls. Scopes mirror the checkpoint's tree: inside
 * `scope("layers.0", () => scope("self_attn", …))` the parameter `q_proj.weight` is the checkpoint's
 * `layers.0.self_attn.q_proj.weight`, and nodes are named `/layers.0/self_attn/MatMul`.
 */
import type { MatrixFormat } from "./number-formats.ts";
import type {
  AttributeValue,
  Dimension,
  ElementType,
  OnnxGraph,
  OnnxNode,
  OnnxTensor,
  OnnxValue,
} from "./onnx-model.ts";
import type { WeightsFile, WeightValues } from "./weights-file.ts";

/** The result of an operation, a parameter, a constant or an input: a name inside the graph. */
export interface Value {
  readonly name: string;
}

/** Where parameters come from: a checkpoint that answers by key, or throws naming the key. */
export interface ParameterSource {
  has(key: string): boolean;
  /** Row-major values of the tensor `key`; throws unless it exists with exactly this shape. */
  read(key: string, shape: readonly number[]): Float32Array;
}

export type Attributes = Readonly<
  Record<string, number | string | readonly number[] | { readonly float: number } | OnnxGraph>
>;

export interface OpOptions {
  readonly domain?: "com.microsoft";
  /** Number of results; one unless stated. */
  readonly outputs?: number;
}

/** A parameter made of one or more checkpoint tensors. */
export interface DerivedParameter {
  /** Unique name of the derived tensor, inside the scope. */
  readonly name: string;
  readonly shape: readonly number[];
  /** float32 unless given; 16-bit formats come as their bits. */
  readonly type?: ElementType;
  /** Makes the values; `read` takes a key relative to the scope. */
  readonly derive: (read: (key: string, shape: readonly number[]) => Float32Array) => WeightValues;
}

/** Tensors of at most this many values are stored in the graph file itself. */
const INLINE_VALUES = 64;

export class GraphBuilder {
  readonly nodes: OnnxNode[] = [];
  private readonly initializers: Map<string, OnnxTensor>;
  private readonly inputs: OnnxValue[] = [];
  private readonly outputs: OnnxValue[] = [];
  private readonly nodeNames = new Map<string, number>();
  private path: readonly string[] = [];

  constructor(
    readonly name: string,
    private readonly parameters: ParameterSource,
    private readonly weights: WeightsFile,
    /** The format of the matrix known under a key. */
    private readonly format: (key: string) => MatrixFormat = () => "float32",
    /** The graph around this one when it is the body of a loop; it holds the initializers of both. */
    private readonly outer?: GraphBuilder,
  ) {
    this.initializers = outer?.initializers ?? new Map();
  }

  /** Runs `build` with `name` appended to the path of parameter keys and node names. */
  scope<T>(name: string, build: () => T): T {
    const outside = this.path;
    this.path = [...outside, name];
    try {
      return build();
    } finally {
      this.path = outside;
    }
  }

  input(name: string, type: ElementType, dims: readonly Dimension[]): Value {
    this.inputs.push({ name, type, dims });
    return { name };
  }

  /** Declares `value` as the graph's result `name`. */
  output(name: string, value: Value, { type, dims }: { type: ElementType; dims: readonly Dimension[] }): void {
    this.nodes.push(this.node("Identity", [value.name], [name], {}));
    this.outputs.push({ name, type, dims });
  }

  /** A small fp32 constant; a plain number is a scalar. */
  float(value: number | readonly number[]): Value {
    const values = Float32Array.from(typeof value === "number" ? [value] : value);
    return this.constant("float32", typeof value === "number" ? [] : [values.length], new Uint8Array(values.buffer));
  }

  /** A small int64 constant; a plain number is a scalar. */
  int(value: number | readonly number[]): Value {
    const values = BigInt64Array.from((typeof value === "number" ? [value] : value).map(BigInt));
    return this.constant("int64", typeof value === "number" ? [] : [values.length], new Uint8Array(values.buffer));
  }

  /** A uint8 scalar constant. */
  byte(value: number): Value {
    return this.constant("uint8", [], Uint8Array.of(value));
  }

  /** A boolean scalar constant. */
  bool(value: boolean): Value {
    return this.constant("bool", [], Uint8Array.of(value ? 1 : 0));
  }

  /** Whether the checkpoint has the tensor `key` (relative to the scope). */
  hasParameter(key: string): boolean {
    return this.parameters.has(this.keyOf(key));
  }

  /** How the matrix `key` (relative to the scope) is stored and multiplied. */
  formatOf(key: string): MatrixFormat {
    return this.format(this.keyOf(key));
  }

  /** The checkpoint tensor `key` (relative to the scope), as it is. */
  parameter(key: string, shape: readonly number[]): Value {
    return this.derivedParameter({ name: key, shape, derive: (read) => read(key, shape) });
  }

  /** A tensor computed from checkpoint tensors when the model is built: transposed, concatenated, … */
  derivedParameter({ name, shape, type = "float32", derive }: DerivedParameter): Value {
    const key = this.keyOf(name);
    if (this.initializers.has(key)) return { name: key };
    const read = (): WeightValues => derive((relative, of) => this.parameters.read(this.keyOf(relative), of));
    const size = shape.reduce((product, dim) => product * dim, 1);
    const content =
      size <= INLINE_VALUES ? bytesOf(read()) : { file: this.weights.fileName, ...this.weights.place(key, read) };
    this.initializers.set(key, { name: key, type, dims: shape, content });
    return { name: key };
  }

  /** Adds one node; its single result. */
  op(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes = {},
    options: OpOptions = {},
  ): Value {
    const [first] = this.ops(opType, inputs, attributes, options);
    if (first === undefined) throw new Error(`${opType} has no result`);
    return first;
  }

  /** Adds one node with `options.outputs` results. */
  ops(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes,
    options: OpOptions,
  ): readonly Value[] {
    const name = this.uniqueName(opType);
    const outputs = Array.from({ length: options.outputs ?? 1 }, (_, index) => `${name}:${index}`);
    const operands = inputs.map((value) => value?.name ?? "");
    this.nodes.push(this.node(opType, operands, outputs, attributes, { name, domain: options.domain ?? "" }));
    return outputs.map((output) => ({ name: output }));
  }

  finish(): OnnxGraph {
    return {
      name: this.name,
      nodes: this.nodes,
      initializers: this.outer === undefined ? [...this.initializers.values()] : [],
      inputs: this.inputs,
      outputs: this.outputs,
    };
  }

  /** A builder for the body of a Loop in this graph: same scope, names that do not collide. */
  body(name: string): GraphBuilder {
    const body = new GraphBuilder(name, this.parameters, this.weights, this.format, this);
    body.path = this.path;
    return body;
  }

  private node(
    opType: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Attributes,
    { name, domain } = { name: this.uniqueName(opType), domain: "" },
  ): OnnxNode {
    const encoded = Object.entries(attributes).map(([key, value]) => [key, attributeValue(value)] as const);
    return { name, opType, domain, inputs, outputs, attributes: Object.fromEntries(encoded) };
  }

  private constant(type: ElementType, dims: readonly number[], bytes: Uint8Array): Value {
    const name = `constant:${type}[${dims.join()}]:${Buffer.from(bytes).toString("hex")}`;
    if (!this.initializers.has(name)) this.initializers.set(name, { name, type, dims, content: bytes });
    return { name };
  }

  private keyOf(name: string): string {
    return [...this.path, name].join(".");
  }

  private uniqueName(opType: string): string {
    const base = `${this.outer === undefined ? "" : `${this.name}:`}/${[...this.path, opType].join("/")}`;
    const count = (this.nodeNames.get(base) ?? 0) + 1;
    this.nodeNames.set(base, count);
    return count === 1 ? base : `${base}_${count}`;
  }
}

function bytesOf(values: WeightValues): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Numbers are INT attributes; write `{ float: x }` for a FLOAT one. */
function attributeValue(value: Attributes[string]): AttributeValue {
  if (typeof value === "number") return { kind: "int", value };
  if (typeof value === "string") return { kind: "string", value };
  if ("float" in value) return { kind: "float", value: value.float };
  if ("nodes" in value) return { kind: "graph", value };
  return { kind: "ints", value };
}
