/** What every resolver gets: who calls. */
import { DomainError } from "../platform/errors.ts";
import type { ReadSession } from "../platform/read-session.ts";
import type { Principal } from "./principal.ts";

export interface RequestContext {
  /** Undefined for an anonymous caller. */
  readonly principal: Principal | undefined;
  /** Whose rate limit counts: the key's, or the address's of an anonymous caller. */
  readonly caller: string;
  /** What its fields look up; undefined for an anonymous caller. */
  readonly reads: ReadSession | undefined;
}

export function principalOf({ principal }: RequestContext): Principal {
  if (principal !== undefined) return principal;
  throw unauthenticated();
}

export function readsOf({ reads }: RequestContext): ReadSession {
  if (reads !== undefined) return reads;
  throw unauthenticated();
}

const unauthenticated = (): DomainError =>
  new DomainError(
    "UNAUTHENTICATED",
    'An API key is needed. Send it as "Authorization: Bearer <key>", or in the "authorization" of connection_init.',
  );
