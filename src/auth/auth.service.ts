/** Who calls: by the key or the token that they send, for the tenant that they name. */
import { asAnyone } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { notFound, toGlobalId } from "../platform/ids.ts";
import { secretOf, tokenOf } from "./api-key.ts";
import { findPerson, lookUpKey } from "./auth.store.ts";
import type { Oidc } from "./oidc.ts";
import type { CallerTenant, Principal } from "./principal.ts";
import { REFUSALS } from "./refusals.ts";

/** As callers send them, in headers or in connection_init. */
export interface CallerCredentials {
  readonly authorization: string | undefined;
  /** Global id of the tenant to act for. */
  readonly tenant: string | undefined;
}

export class AuthService {
  /** @param oidc undefined when nobody signs in here */
  constructor(
    private readonly db: Database,
    private readonly oidc: Oidc | undefined,
  ) {}

  /**
   * The caller; undefined for an anonymous one. Throws UNAUTHENTICATED for a key or token that does not work, and NOT_FOUND
   * for a tenant that is not the caller's.
   */
  async authenticate({ authorization, tenant }: CallerCredentials): Promise<Principal | undefined> {
    if (authorization === undefined || authorization === "") return undefined;
    const secret = secretOf(authorization);
    if (secret !== undefined) return this.authenticateKey(secret, tenant);
    const token = tokenOf(authorization);
    if (token !== undefined && this.oidc !== undefined) return this.authenticatePerson(this.oidc, token, tenant);
    throw new DomainError("UNAUTHENTICATED", UNKNOWN_KEY);
  }

  private async authenticateKey(secret: string, tenant: string | undefined): Promise<Principal> {
    const found = await this.db.transaction(asAnyone, (tx) => lookUpKey(tx, secret));
    if (found === undefined) throw new DomainError("UNAUTHENTICATED", UNKNOWN_KEY);
    if ("refusal" in found) throw new DomainError("UNAUTHENTICATED", REFUSALS[found.refusal]);
    chooseTenant(found.principal.tenants, tenant);
    return found.principal;
  }

  private async authenticatePerson(oidc: Oidc, token: string, tenant: string | undefined): Promise<Principal> {
    const { expiresAt, ...signIn } = await oidc.verify(token);
    const person = await this.db.transaction(asAnyone, (tx) => findPerson(tx, signIn));
    if (person === undefined) {
      const whom = signIn.email ?? "your e-mail address, and verify it where you signed in";
      throw new DomainError(
        "UNAUTHENTICATED",
        `Nobody here is known by this sign-in. Ask an administrator to add ${whom}.`,
      );
    }
    const { id: tenantId, role, isSuspended } = chooseTenant(person.tenants, tenant);
    const unlimited = { apiKeyId: null, scopes: null, allowedPresets: null };
    return { ...person, ...unlimited, tenantId, role, isSuspended, expiresAt };
  }
}

/** The named one, or the only one. Somebody else's is as absent as none. */
function chooseTenant(tenants: readonly CallerTenant[], named: string | undefined): CallerTenant {
  const found = tenants.filter(({ id }) => named === undefined || toGlobalId("Tenant", id) === named);
  const [tenant, another] = found;
  if (another !== undefined) {
    const list = found.map(({ id, name }) => `${toGlobalId("Tenant", id)} (${name})`).join(", ");
    throw new DomainError(
      "INVALID_INPUT",
      `You are a member of several tenants. Name one in the header X-Tenant, or in "tenant" of connection_init: ${list}.`,
    );
  }
  if (tenant !== undefined) return tenant;
  if (named !== undefined) throw notFound("Tenant", named, []);
  throw new DomainError("FORBIDDEN", "You are not a member of any tenant. Ask an administrator of one to add you.");
}

const UNKNOWN_KEY =
  "This API key is not valid: it is mistyped, or was revoked. Ask an administrator of your tenant for a new one.";
