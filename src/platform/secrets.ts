/** Secrets that this installation made for itself: a file that only its user can read. Kept apart from the settings; never logged. */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
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

/**
 * Reads the secrets of a data folder, or makes them.
 * @param given what links are signed with, where the operator says so
 */
export function loadSecrets(dataDir: string, given: string | undefined): Secrets {
  if (given !== undefined) return { urlSigning: { id: idOf(given), secret: Buffer.from(given).toString("base64url") } };
  const path = join(dataDir, FILE);
  if (!existsSync(path)) {
    const made = { urlSigning: { id: newId(), secret: randomBytes(32).toString("base64url") } } satisfies Secrets;
    writePrivateFile(path, made, { replaces: false });
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

/** Tells nothing of the secret. */
const idOf = (secret: string): string => createHash("sha256").update(secret).digest("hex").slice(0, 16);

/**
 * Writes JSON that only this user can read; the file is whole or absent.
 * @param options.replaces whether one that is there, perhaps since a moment ago from another process, goes
 */
export function writePrivateFile(path: string, content: unknown, { replaces = true } = {}): void {
  const unfinished = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(unfinished, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600 });
  try {
    if (replaces) renameSync(unfinished, path);
    else linkSync(unfinished, path);
  } catch (error) {
    if (replaces || (error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(unfinished, { force: true });
  }
}
