/** The reference as a child process; what is said is written in serve.py. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Contender, Cost } from "../measuring/interleaved.ts";

/** The sources stay where they are: nothing of them is compiled. */
const SERVE = join(import.meta.dirname, "../../../bench/reference/serve.py");

export interface TensorMessage {
  readonly shape: readonly number[];
  readonly type: "float32" | "int64";
  /** Base64 of the values in this machine's order of bytes. */
  readonly data: string;
}

export type Input = TensorMessage | number | readonly number[];

export const floats = (values: Float32Array, shape: readonly number[]): TensorMessage =>
  message(values, shape, "float32");

export const integers = (values: Iterable<number>, shape: readonly number[]): TensorMessage =>
  message(BigInt64Array.from(values, BigInt), shape, "int64");

const message = (
  { buffer, byteOffset, byteLength }: Float32Array | BigInt64Array,
  shape: readonly number[],
  type: TensorMessage["type"],
): TensorMessage => ({ shape, type, data: Buffer.from(buffer, byteOffset, byteLength).toString("base64") });

export class ReferenceProcess {
  private readonly answers: AsyncIterator<string>;

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    this.answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Throws, saying why, where the interpreter or PyTorch is missing. */
  static async open(checkpointFolder: string): Promise<{ reference: ReferenceProcess; torch: string }> {
    const interpreter = process.env["PYTHON"] ?? "python3";
    const env = { ...process.env, OPENBLAS_NUM_THREADS: "1", OMP_NUM_THREADS: "1", PYTHONDONTWRITEBYTECODE: "1" };
    const child = spawn(interpreter, [SERVE], { env });
    let complaint = "";
    child.stderr.on("data", (chunk) => {
      complaint += String(chunk);
    });
    child.on("error", (error) => {
      complaint += `${interpreter}: ${error.message}. Install Python 3, or name an interpreter with PYTHON=...`;
    });
    child.stdin.on("error", () => {}); // it is gone: the answer that does not come says so
    const reference = new ReferenceProcess(child);
    try {
      const { torch } = await reference.ask<{ torch: string }>({ open: checkpointFolder });
      return { reference, torch };
    } catch (cause) {
      throw new Error(`The reference did not start. ${complaint.trim()}`, { cause });
    }
  }

  async prepare(task: string, inputs: Readonly<Record<string, Input>>): Promise<void> {
    await this.ask({ prepare: task, inputs });
  }

  contender(task: string): Contender {
    return (times) => this.ask<Cost>({ run: task, times });
  }

  /** What the last run of a task came to. */
  async result(task: string, name: string): Promise<Float32Array> {
    const results = await this.ask<Record<string, TensorMessage>>({ result: task });
    const tensor = results[name];
    if (tensor === undefined) throw new Error(`the reference's ${task} gives no ${name}`);
    const bytes = Buffer.from(tensor.data, "base64");
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  }

  close(): void {
    this.child.stdin.end();
  }

  private async ask<Answer>(question: object): Promise<Answer> {
    this.child.stdin.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.answers.next();
    if (done === true) throw new Error("The reference ended before it answered; run bench/reference/serve.py by hand.");
    return JSON.parse(value as string) as Answer;
  }
}
