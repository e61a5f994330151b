/**
 * As whom a transaction acts: a role of the database, and the tenants whose rows it is about. Row-level security shows it no
 * other rows and lets it write none, whatever a query asks for. Every access here that is not one tenant's is a door across
 * tenants: what each role may touch stands in the migrations.
 */
export interface Access {
  readonly role: "atelier_api" | "atelier_poll" | "atelier_dispatcher" | "atelier_platform";
  readonly tenantIds: readonly string[];
}

/** Rows of one tenant. */
export const asTenant = (tenantId: string): Access => ({ role: "atelier_api", tenantIds: [tenantId] });

/** Rows of no tenant: what everybody may see, and the lookup of a key. */
export const asAnyone: Access = { role: "atelier_api", tenantIds: [] };

/** The newest milestones of generations of these tenants. */
export const asPoll = (tenantIds: readonly string[]): Access => ({ role: "atelier_poll", tenantIds });

/** Whatever generations and their credits need to go on, of all tenants; no keys, users or audit log. */
export const asDispatcher: Access = { role: "atelier_dispatcher", tenantIds: [] };

/** Everything: for administrators of the platform, and the first start. */
export const asPlatform: Access = { role: "atelier_platform", tenantIds: [] };
