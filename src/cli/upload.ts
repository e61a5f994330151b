/** Sends files to the server: createUpload, the PUT of their bytes, finishUpload with the SHA-256 of what was sent. */
import { createHash } from "node:crypto";
import { accessSync, constants, createReadStream, type Stats, statSync } from "node:fs";
import { z } from "zod";
import { type ApiClient, USER_ERRORS, userErrorsSchema } from "./api-client.ts";
import { systemReason } from "./system-reason.ts";

const CREATE = /* GraphQL */ `
  mutation CreateUpload($input: CreateUploadInput!) {
    createUpload(input: $input) {
      target { uploadId method url headers { name value } }
      ${USER_ERRORS}
    }
  }
`;

const FINISH = /* GraphQL */ `
  mutation FinishUpload($id: ID!, $sha256: String!) {
    finishUpload(id: $id, sha256: $sha256) { upload { id } ${USER_ERRORS} }
  }
`;

const targetSchema = z.object({
  uploadId: z.string(),
  method: z.string(),
  url: z.string(),
  headers: z.array(z.object({ name: z.string(), value: z.string() })),
});
const createdSchema = z.object({
  createUpload: z.object({ target: targetSchema.nullable(), userErrors: userErrorsSchema }),
});
const finishedSchema = z.object({
  finishUpload: z.object({ upload: z.object({ id: z.string() }).nullable(), userErrors: userErrorsSchema }),
});

/** Of GraphQL's Int: no server takes more. */
const MAX_BYTES = 2 ** 31 - 1;

/** Bytes that can be read from the beginning as often as need be. */
export interface Sendable {
  /** For messages. */
  readonly name: string;
  readonly sizeBytes: number;
  open(): AsyncIterable<Uint8Array>;
}

export interface UploadOptions {
  readonly purpose: "PICTURE" | "BATCH";
  /** Aborts when the user wants to stop. */
  readonly stop: AbortSignal;
  readonly onSent?: (sentBytes: number, sizeBytes: number) => void;
}

/** A file that can be read now. Throws with what to do for anything else. */
export function openFile(file: string, name = file): Sendable {
  const found = lookAt(file, name);
  if (found.isDirectory()) throw new Error(`${name} is a folder. Name a file in it.`);
  if (!found.isFile()) throw new Error(`${name} is no file that can be sent. Save it to a file first.`);
  if (found.size === 0) throw new Error(`${name} is empty. Name another file.`);
  if (found.size > MAX_BYTES) throw new Error(`${name} has ${found.size} bytes, more than any server takes.`);
  return { name, sizeBytes: found.size, open: () => createReadStream(file) };
}

/** Sends a file again when the connection is lost. @returns the id of the finished upload */
export async function upload(
  client: ApiClient,
  source: Sendable,
  { purpose, stop, onSent }: UploadOptions,
): Promise<string> {
  const { name, sizeBytes } = source;
  const { createUpload } = await client.request(createdSchema, CREATE, { input: { purpose, sizeBytes } });
  const { target } = createUpload;
  if (target === null) throw refused(name, createUpload.userErrors);
  let sha256 = "";
  async function* bytes(): AsyncGenerator<Uint8Array> {
    const hash = createHash("sha256");
    let sent = 0;
    for await (const piece of source.open()) {
      stop.throwIfAborted();
      hash.update(piece);
      yield piece;
      sent += piece.length;
      onSent?.(sent, sizeBytes);
    }
    sha256 = hash.digest("hex");
  }
  await client.send({ ...target, sizeBytes, name }, bytes, stop);
  const { finishUpload } = await client.request(finishedSchema, FINISH, { id: target.uploadId, sha256 });
  if (finishUpload.upload === null) throw refused(name, finishUpload.userErrors);
  return target.uploadId;
}

const refused = (name: string, errors: readonly { message: string }[]): Error =>
  new Error(`${name} was refused: ${errors.map(({ message }) => message).join(" ")}`);

function lookAt(file: string, name: string): Stats {
  try {
    const found = statSync(file);
    accessSync(file, constants.R_OK);
    return found;
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    const problem = isMissing ? `There is no file ${name}.` : `${name} cannot be read: ${systemReason(cause)}.`;
    throw new Error(`${problem} Check the name, or name another file.`, { cause });
  }
}
