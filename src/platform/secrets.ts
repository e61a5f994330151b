/** Secrets that this installation made for itself: a file that only its user can read. Kept apart from the settings; never logged. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { StartupError } from "./errors.ts";
import { newId } from "./ids.ts";

const FILE = "secrets.json";

const secretsSchema = z.object({
  /** Signs links to pictures. */
  urlSigning: z.object({ id: z.string(), secret: z.string() }),
});
export type Secrets = z.infer<typeof secretsSchema>;

/** Reads the secrets of a data folder, or makes them. */
export function loadSecrets(dataDir: string): Secrets {
  const path = join(dataDir, FILE);
  if (!existsSync(path)) {
    writePrivateFile(path, {
      urlSigning: { id: newId(), secret: randomBytes(32).toString("base64url") },
    } satisfies Secrets);
  }
  try {
    return secretsSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    throw new StartupError(
      `${path} is damaged. Restore it from a backup, or delete it: links to pictures handed out so far then stop working.`,
      { cause },
    );
  }
}

/** Writes JSON that only this user can read; the file is whole or absent. */
export function writePrivateFile(path: string, content: unknown): void {
  const unfinished = `${path}.${process.pid}`;
  writeFileSync(unfinished, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(unfinished, path);
}
