/** Versions of what administrators change: a caller who names the one they saw never overwrites what another did since. */
import { DomainError } from "./errors.ts";

export const toEtag = (version: number): string => `v${version}`;

/** Throws VERSION_MISMATCH when a caller named another version. Asked with the row locked. */
export function checkEtag(ifMatch: string | undefined, version: number): void {
  const currentEtag = toEtag(version);
  if (ifMatch === undefined || ifMatch === currentEtag) return;
  throw new DomainError(
    "VERSION_MISMATCH",
    "It was changed meanwhile. Read it again, and repeat the call if you still want it.",
    { path: ["input", "ifMatch"], type: "VersionError", facts: { currentEtag } },
  );
}
