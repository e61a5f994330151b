/** Arguments of several commands, and how they are checked. */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, realpathSync, rmSync, statSync } from "node:fs";
import { dirname, extname } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import { buildCommand } from "../manifest.ts";
import { openPipelines, type Pipelines } from "../pipelines/pipelines.ts";
import { chooseProvider, PROVIDERS, type Provider } from "../runtime/provider.ts";
import { threadsFor } from "../runtime/threads.ts";
import { SPEEDS } from "../sampling/speed.ts";

const IMAGE_ENDINGS = [".png", ".jpg", ".jpeg", ".webp"];
/** As many as a server's WORKER_THREADS may be. */
const MAX_THREADS = 256;

export interface ModelFlags {
  readonly model: string;
  readonly provider: Provider;
  readonly threads?: number;
}

export const providerOption = (): Option =>
  new Option("--provider <name>", "what computes; the processor, with a word why, where another does not work")
    .choices(PROVIDERS)
    .default("cpu");

export const threadsOption = (): Option =>
  new Option("--threads <n>", "threads of one operator; by the model's size unless given").argParser(
    wholeNumber(1, MAX_THREADS),
  );

export const speedOption = (): Option =>
  new Option("--speed <name>", "approximations that take less time; docs/speeds.md says what they cost")
    .choices(SPEEDS)
    .default("exact");

export const seedOption = (): Option =>
  new Option("--seed <n>", "unsigned, 64 bits; random unless given")
    .argParser(seed)
    .default(randomBytes(8).readBigUInt64LE(), "random");

/** The model folder that the flags name; the caller closes it. */
export async function openModel({ model, provider: wanted, threads }: ModelFlags): Promise<Pipelines> {
  if (!existsSync(model))
    throw new Error(`There is no model folder at ${model}. Build it first: ${buildCommand(model)}`);
  const { provider, fallback } = await chooseProvider(wanted);
  if (fallback !== undefined) console.error(fallback);
  return openPipelines(model, { provider, threads: threads ?? threadsFor(model) });
}

export const IMAGE_FILE_HELP = `the picture: ${IMAGE_ENDINGS.join(", ")}`;

/** Tries it, because permissions do not say everything (/proc); what is there stays as it is. */
export function requireWritable(file: string): void {
  if (!IMAGE_ENDINGS.includes(extname(file).toLowerCase())) {
    throw new Error(`--out ${file}: the file must end in ${IMAGE_ENDINGS.join(", ")}.`);
  }
  if (!existsSync(dirname(file))) {
    throw new Error(`--out ${file}: there is no folder ${dirname(file)}. Make it, or name another one.`);
  }
  const existing = statSync(file, { throwIfNoEntry: false });
  if (existing?.isDirectory()) throw new Error(`--out ${file}: is a folder. Name a file in it.`);
  try {
    closeSync(openSync(file, "a"));
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new Error(`--out ${file}: cannot be written (${reason}). Name a file that you may write.`, { cause });
  }
  if (existing === undefined) rmSync(realpathSync(file)); // through a link, what it points to
}

/** A file to be read. @param flag its name in the message */
export function requireFile(file: string, flag: string): void {
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
    throw new Error(`${flag} ${file}: there is no such file. Name a picture.`);
  }
}

export function wholeNumber(min: number, max?: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > (max ?? value)) {
      const range = max === undefined ? `of at least ${min}` : `from ${min} to ${max}`;
      throw new InvalidArgumentError(`Give a whole number ${range}.`);
    }
    return value;
  };
}

export function finiteNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Give a number.");
  return value;
}

export function seed(text: string): bigint {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 2n ** 64n)
    throw new InvalidArgumentError("Give a whole number below 2^64.");
  return BigInt(text);
}
