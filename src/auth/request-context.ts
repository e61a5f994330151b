/** What every resolver gets: who calls. */
import { DomainError } from "../platform/errors.ts";
import type { Principal } from "./principal.ts";

export interface RequestContext {
  /** Undefined for an anonymous caller. */
  readonly principal: Principal | undefined;
}

export function principalOf({ principal }: RequestContext): Principal {
  if (principal !== undefined) return principal;
  throw new DomainError(
    "UNAUTHENTICATED",
    'An API key is needed. Send it as "Authorization: Bearer <key>", or in the "authorization" of connection_init.',
  );
}
