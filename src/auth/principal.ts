/** Who calls: a person who signed in, or a key that acts for a member. Always for one tenant. */
import type { Actor } from "../audit/audit.store.ts";
import type { Role, Scope } from "../generated/prisma/enums.ts";

export interface Principal {
  readonly tenantId: string;
  readonly userId: string;
  /** Null for a person who signed in. */
  readonly apiKeyId: string | null;
  readonly role: Role;
  readonly isPlatformAdmin: boolean;
  /** Its tenant only reads. */
  readonly isSuspended: boolean;
  /** What it may do of what the role may; everything when null. */
  readonly scopes: readonly Scope[] | null;
  /** Presets it may ask for; all when null. */
  readonly allowedPresets: readonly string[] | null;
  /** When the key or the token stops working; never when null. */
  readonly expiresAt: Date | null;
  /** Tenants that the caller can name: all of a person, the one of a key. */
  readonly tenants: readonly CallerTenant[];
}

export interface CallerTenant {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly isSuspended: boolean;
}

/** For the audit log. */
export const actorOf = ({ userId, apiKeyId }: Principal): Actor => ({ userId, apiKeyId });
