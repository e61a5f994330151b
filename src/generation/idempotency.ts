/** Idempotency keys: a repeated mutation gives what the first one created. */
import { createHash } from "node:crypto";
import type { Principal } from "../auth/principal.ts";
import { DomainError } from "../platform/errors.ts";
import { isStorable } from "../platform/text.ts";
import type { IdempotencyUse } from "./idempotency.store.ts";

const MAX_KEY_CHARACTERS = 255;

export interface KeyedInput {
  readonly idempotencyKey: string;
}

/** The use of a key by a mutation, to be recorded with what it creates. Refuses keys that cannot be stored. */
export function keyUse(
  { tenantId, userId }: Principal,
  { idempotencyKey: key, ...body }: KeyedInput,
  { field, createdId }: Pick<IdempotencyUse, "field" | "createdId">,
): IdempotencyUse {
  checkKey(key);
  const bodyHash = createHash("sha256").update(canonicalJson(body)).digest("hex");
  return { tenantId, userId, field, key, bodyHash, createdId };
}

/** Refuses a key that cannot be stored. */
export function checkKey(key: string): void {
  if (key.length >= 1 && key.length <= MAX_KEY_CHARACTERS && isStorable(key)) return;
  throw new DomainError(
    "INVALID_INPUT",
    `idempotencyKey must have 1 to ${MAX_KEY_CHARACTERS} characters; a random UUID is a good one.`,
    { path: ["input", "idempotencyKey"] },
  );
}

/** What the earlier use of a key created; refuses another input under the same key. */
export function createdBy(earlier: Pick<IdempotencyUse, "bodyHash" | "createdId">, use: IdempotencyUse): string {
  if (earlier.bodyHash === use.bodyHash) return earlier.createdId;
  if (earlier.bodyHash === "") throw usedForDeleted();
  throw new DomainError(
    "IDEMPOTENCY_KEY_REUSED",
    "This idempotency key was used with another input. Use a new key for something new.",
    { path: ["input", "idempotencyKey"] },
  );
}

/** What its first use asked for is not known any more. */
export const usedForDeleted = (): DomainError =>
  new DomainError(
    "IDEMPOTENCY_KEY_REUSED",
    "What this idempotency key was used for has been deleted. Use a new key for something new.",
    { path: ["input", "idempotencyKey"] },
  );

/** Equal inputs give equal text, whatever the order of their keys. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, member]) => member !== undefined && member !== null);
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`)
    .join()}}`;
}
