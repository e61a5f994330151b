/** Makes a plain PNG of a picture that somebody brings, in a child process with little memory and little time. */
import { type ChildProcess, spawn } from "node:child_process";
import { z } from "zod";
import { DomainError } from "../platform/errors.ts";
import { isKnownPicture } from "./picture-formats.ts";

/**
 * Data of a child, in KiB. Node with a small picture passes under 130 MiB; of 25 million pixels, JPEG and GIF pass under
 * 300 MiB, PNG with 16 bits and TIFF under 520, AVIF under 640, and WebP with transparency under 690, on Linux with one
 * thread. Far above them, because decoders are not to be trusted near the limit: WebP with transparency, with 500 MiB, was
 * seen to come out white now and then, instead of failing.
 */
const MEMORY_KIB = 1024 * 1024;
/** The slowest of these takes about three seconds on one core. */
const TIMEOUT_MS = 30_000;
/** Of processor time: who kills a child that was left alone, because the server was killed. */
const CPU_SECONDS = 60;
const MAX_CHILDREN = 2;
/** Of normalise-picture.ts: the picture is refused, with the reason on its standard error. */
const REFUSED = 2;

/**
 * Addresses of libraries would count against a limit on virtual memory (ulimit -v), with which Node does not start; data is
 * what is allocated. A system that does not support the limit (macOS) goes on without: the time limit and the number of
 * pixels hold there, too.
 */
const LIMITED = `ulimit -d "$0" 2>/dev/null || :; ulimit -t ${CPU_SECONDS}; exec "$@"`;

const factsSchema = z.object({
  width: z.number().int().positive(),
  height: z.number().int().positive(),
  brightest: z.number().int().min(0).max(255),
});

export type NormalisedPicture = z.infer<typeof factsSchema> & { readonly png: Uint8Array };

export interface PictureNormaliserOptions {
  /** The compiled normalise-picture.ts. */
  readonly program: string;
  readonly memoryKib?: number;
  readonly timeoutMs?: number;
}

export class PictureNormaliser {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly options: PictureNormaliserOptions) {}

  /**
   * Waits its turn: two children run at a time.
   *
   * @param read gives the file when it is its turn; undefined when there is none
   * @throws DomainError INVALID_INPUT for what is no picture, or one that is not taken
   */
  async normalise(read: () => Promise<Uint8Array | undefined>): Promise<NormalisedPicture | undefined> {
    if (this.running >= MAX_CHILDREN) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running += 1;
    try {
      const bytes = await read();
      return bytes && (await this.run(bytes));
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.running -= 1;
      else next();
    }
  }

  private async run(bytes: Uint8Array): Promise<NormalisedPicture> {
    if (!isKnownPicture(bytes))
      throw refusal("This is no picture that is taken. Send a JPEG, PNG, WebP, GIF, TIFF or AVIF file.");
    const { program, memoryKib = MEMORY_KIB, timeoutMs = TIMEOUT_MS } = this.options;
    const child = spawn("/bin/sh", ["-c", LIMITED, String(memoryKib), process.execPath, program], { env: {} });
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdin.on("error", () => {}); // it ended before it had read everything: its exit says why
    child.stdin.end(bytes);
    const [output, complaint, exit] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exitOf(child)]);
    clearTimeout(timer);
    if (isLate) throw refusal("The picture takes too long to be read. Make it smaller, or save it as JPEG.");
    return resultOf(exit, output, complaint);
  }
}

function resultOf({ code, signal }: Exit, output: Buffer, complaint: Buffer): NormalisedPicture {
  if (code === REFUSED) throw refusal(complaint.toString("utf8"));
  // A decoder that is refused memory may end the process, as Node does; so does the limit on processor time.
  if (signal !== null)
    throw refusal("The picture takes too much memory or time to be read. Make it smaller, or save it as JPEG.");
  if (code !== 0) throw new Error(`normalise-picture ended with ${code}: ${complaint.toString("utf8").slice(0, 2000)}`);
  const end = output.indexOf("\n");
  return { ...factsSchema.parse(JSON.parse(output.toString("utf8", 0, end))), png: output.subarray(end + 1) };
}

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

async function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once("close", (code, signal) => resolve({ code, signal }));
    child.once("error", reject);
  });
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const refusal = (message: string): DomainError => new DomainError("INVALID_INPUT", message, { path: ["id"] });
