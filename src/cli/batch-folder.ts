/**
 * The folder that a batch is drawn into: 00000000.jpg and 00000000.json for the first prompt, and so on, as the original's
 * script writes them; and batch.json, by which an interrupted command goes on.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { z } from "zod";
import type { Sample } from "./batch-file.ts";
import { writePicture } from "./picture-files.ts";
import { systemReason } from "./system-reason.ts";

const STATE_FILE = "batch.json";
/** Pillow's quality for JPEG unless told otherwise, which the original's scripts use. */
const JPEG_QUALITY = 75;

const stateSchema = z.object({
  /** SHA-256 of the prompts and settings that the folder is for, in hex. */
  input: z.string(),
  /** Of the first prompt; the others have the following ones. */
  seed: z.string(),
  /** The batch that was asked for last, until all that it drew is here; no id before the answer came. */
  asked: z.object({ key: z.string(), uploadId: z.string(), id: z.string().optional() }).optional(),
});
type State = z.infer<typeof stateSchema>;

export class BatchFolder {
  private constructor(
    private readonly folder: string,
    private state: State,
  ) {}

  /** Makes the folder, or goes on with one for the same input. @param input SHA-256 in hex */
  static open(folder: string, { input, seed }: { input: string; seed: string | undefined }): BatchFolder {
    const file = join(folder, STATE_FILE);
    try {
      mkdirSync(folder, { recursive: true });
    } catch (cause) {
      throw new Error(`${folder} cannot be made: ${systemReason(cause)}. Name another folder.`, { cause });
    }
    if (!existsSync(file)) {
      const opened = new BatchFolder(folder, {
        input,
        seed: seed ?? randomBytes(8).readBigUInt64LE().toString(),
      });
      opened.save();
      return opened;
    }
    const state = readState(file);
    if (state.input === input) return new BatchFolder(folder, state);
    throw new Error(
      `${folder} holds pictures of other prompts or settings. Name another folder, or delete this one to start anew.`,
    );
  }

  get seed(): bigint {
    return BigInt(this.state.seed);
  }

  get asked(): State["asked"] {
    return this.state.asked;
  }

  /** Before asking, and again with the answer; undefined once all is here. */
  noteAsked(asked: State["asked"]): void {
    const { asked: _, ...state } = this.state;
    this.state = asked === undefined ? state : { ...state, asked };
    this.save();
  }

  has(name: string): boolean {
    return existsSync(this.fileOf(name, "json"));
  }

  /** Tiles equal pictures row by row. The description comes last, and whole: a sample with one is done. */
  async write(
    name: string,
    { sample, pictures, columns }: { sample: Sample; pictures: readonly Uint8Array[]; columns: number },
  ): Promise<void> {
    const tiled =
      pictures.length === 1 ? sharp(pictures[0]) : sharp([...pictures].map(asBuffer), { join: { across: columns } });
    writePicture(this.fileOf(name, "jpg"), await tiled.jpeg({ quality: JPEG_QUALITY }).toBuffer());
    const description = { ...sample, sample_id: Number(name) };
    writePicture(this.fileOf(name, "json"), Buffer.from(`${JSON.stringify(description, undefined, 2)}\n`));
  }

  private save(): void {
    writePicture(join(this.folder, STATE_FILE), Buffer.from(`${JSON.stringify(this.state, undefined, 2)}\n`));
  }

  private fileOf(name: string, ending: string): string {
    return join(this.folder, `${name}.${ending}`);
  }
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function readState(file: string): State {
  try {
    return stateSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new Error(`${file} is damaged. Name another folder, or delete this one to start anew.`, { cause });
  }
}
