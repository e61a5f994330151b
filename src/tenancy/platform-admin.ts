/** Who administers the platform, as its operator decides at the machine: there, and nowhere in the API, is it changed. */
import { NIL } from "uuid";
import { appendAudit, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { asPlatform } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { readReason } from "../platform/text.ts";
import { findPersonByEmail, keepKeysFromPlatform, setPlatformAdminOf } from "./tenancy.store.ts";

/** No user: whoever can open the database. */
const OPERATOR = { userId: NIL, apiKeyId: null };

export interface PlatformAdminChange {
  readonly email: string;
  readonly isPlatformAdmin: boolean;
  readonly reason: string;
}

/**
 * Keys that were made for the person before, maybe by others, do not get these rights. Takes effect with the next request;
 * sockets of theirs are closed within seconds.
 * @returns false when it was so already
 */
export async function setPlatformAdmin(
  db: Database,
  { email, isPlatformAdmin, reason: words }: PlatformAdminChange,
): Promise<boolean> {
  const reason = readReason(words);
  return db.transaction(asPlatform, async (tx) => {
    const person = await findPersonByEmail(tx, email.toLowerCase());
    if (person === undefined)
      throw new DomainError(
        "NOT_FOUND",
        `Nobody here has the address ${email}. Add them to a tenant first: addMember.`,
      );
    if (person.isPlatformAdmin === isPlatformAdmin) return false;
    if (isPlatformAdmin) await keepKeysFromPlatform(tx, person.id);
    await setPlatformAdminOf(tx, person.id, isPlatformAdmin);
    await appendAudit(tx, PLATFORM_CHAIN, {
      actor: OPERATOR,
      action: isPlatformAdmin ? "platformAdmin:grant" : "platformAdmin:revoke",
      target: { type: "User", id: person.id },
      reason,
      before: { isPlatformAdmin: person.isPlatformAdmin },
      after: { isPlatformAdmin },
    });
    return true;
  });
}
