import { DomainError } from "../platform/errors.ts";

export const MAX_EXPIRES_IN_SECONDS = 7 * 24 * 3600;

/** Refuses links that would never, or hardly ever, expire. */
export function checkExpiry(expiresInSeconds: number): void {
  if (expiresInSeconds >= 1 && expiresInSeconds <= MAX_EXPIRES_IN_SECONDS) return;
  throw new DomainError(
    "INVALID_INPUT",
    `expiresInSeconds is ${expiresInSeconds}; 1 to ${MAX_EXPIRES_IN_SECONDS} are possible.`,
  );
}
