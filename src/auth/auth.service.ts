import { asAnyone } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { secretOf } from "./api-key.ts";
import { lookUpKey, type Refusal } from "./auth.store.ts";
import type { Principal } from "./principal.ts";

export class AuthService {
  constructor(private readonly db: Database) {}

  /** The caller behind an Authorization header; undefined for an anonymous one. Throws UNAUTHENTICATED for a key that does not work. */
  async authenticate(authorization: string | undefined): Promise<Principal | undefined> {
    if (authorization === undefined || authorization === "") return undefined;
    const secret = secretOf(authorization);
    const found = secret && (await this.db.transaction(asAnyone, (tx) => lookUpKey(tx, secret)));
    if (found && "principal" in found) return found.principal;
    throw new DomainError("UNAUTHENTICATED", found ? REFUSALS[found.refusal] : UNKNOWN_KEY);
  }
}

const UNKNOWN_KEY =
  "This API key is not valid: it is mistyped, or was revoked. Ask an administrator of your tenant for a new one.";

/** To callers that were known. */
const REFUSALS: Record<Refusal, string> = {
  REVOKED: "This API key was revoked. Ask an administrator of your tenant for a new one.",
  EXPIRED: "This API key has expired. Ask an administrator of your tenant for a new one.",
  REMOVED: "You are no longer a member of this tenant. Ask its administrators.",
};
