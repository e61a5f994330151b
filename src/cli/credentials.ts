/** The file that the server writes for its first users: its address and a key. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { systemReason } from "./system-reason.ts";

const credentialsSchema = z.object({
  url: z.url({ protocol: /^https?$/, error: '"url" is not an address such as http://127.0.0.1:4000/graphql' }),
  apiKey: z.string({ error: '"apiKey" is missing' }).min(1, '"apiKey" is empty'),
});

export interface Credentials extends z.infer<typeof credentialsSchema> {
  /** Where they came from, for messages. */
  readonly file: string;
}

export function readCredentials(file: string): Credentials {
  const parsed = credentialsSchema.safeParse(parse(read(file), file));
  if (parsed.success) return { ...parsed.data, file };
  const problems = parsed.error.issues.map(({ message }) => message).join(", ");
  throw new Error(`${file} cannot be used: ${problems}. ${WHAT_TO_DO}`);
}

const WHAT_TO_DO = 'Start the server with "npm start", which mends the file, or name another one with --credentials.';

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    throw new Error(
      isMissing
        ? `There is no file ${file}. Start the server with "npm start", which writes it, or name another one with --credentials.`
        : `${file} cannot be read: ${systemReason(cause)}. Run this as the user who started the server, or name another file with --credentials.`,
      { cause },
    );
  }
}

function parse(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file} cannot be used: it is not JSON. ${WHAT_TO_DO}`, { cause });
  }
}
