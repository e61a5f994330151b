import { asAnyone } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { secretOf } from "./api-key.ts";
import { findPrincipal } from "./auth.store.ts";
import type { Principal } from "./principal.ts";

export class AuthService {
  constructor(private readonly db: Database) {}

  /** The caller behind an Authorization header; undefined for an anonymous one. Throws UNAUTHENTICATED for a key that does not work. */
  async authenticate(authorization: string | undefined): Promise<Principal | undefined> {
    if (authorization === undefined || authorization === "") return undefined;
    const secret = secretOf(authorization);
    const principal = secret && (await this.db.transaction(asAnyone, (tx) => findPrincipal(tx, secret)));
    if (principal) return principal;
    throw new DomainError(
      "UNAUTHENTICATED",
      "This API key is not valid: it is mistyped, or was revoked. Ask an administrator of your tenant for a new one.",
    );
  }
}
