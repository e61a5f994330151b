import type { Principal } from "../../src/auth/principal.ts";

/** A member who signed in, unless said otherwise. */
export function principalFor(who: Partial<Principal> & Pick<Principal, "tenantId" | "userId">): Principal {
  const { role = "MEMBER", isSuspended = false } = who;
  return {
    apiKeyId: null,
    role,
    isPlatformAdmin: false,
    isSuspended,
    scopes: null,
    allowedPresets: null,
    expiresAt: null,
    tenants: [{ id: who.tenantId, name: "test", role, isSuspended }],
    ...who,
  };
}
