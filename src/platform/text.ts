/** Text that callers send. */
import { DomainError } from "./errors.ts";

/** PostgreSQL stores no NUL and no lone surrogate, which is half a character. */
export const isStorable = (text: string): boolean => !/\0|\p{Surrogate}/u.test(text);

const MAX_REASON = 1000;

/** Why something is done, for the audit log. */
export const readReason = (reason: string | undefined): string | null =>
  reason === undefined ? null : requireText(reason, { max: MAX_REASON, path: ["input", "reason"] });

/** Text of 1 to `max` characters, without blanks around it. */
export function requireText(text: string, { max, path }: { max: number; path: readonly string[] }): string {
  const trimmed = text.trim();
  if (trimmed.length >= 1 && trimmed.length <= max && isStorable(trimmed)) return trimmed;
  throw new DomainError("INVALID_INPUT", `${path.at(-1)} has 1 to ${max} characters of valid Unicode text.`, { path });
}
