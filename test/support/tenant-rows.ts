/** Every row that a tenant has, whatever tables there are. */
import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";

export const TENANT_TABLES = `
  select relname as name from pg_class c where relnamespace = 'public'::regnamespace and relkind = 'r'
  and (relname = 'tenant' or exists (select 1 from pg_attribute where attrelid = c.oid and attname = 'tenant_id'))`;

/** By table; equal texts when nothing changed. */
export function rowsOfTenant(db: Database, tenantId: string): Promise<Record<string, string | null>> {
  return db.transaction(asPlatform, async (tx) => {
    const rows: Record<string, string | null> = {};
    for (const { name } of await tx.$queryRawUnsafe<{ name: string }[]>(TENANT_TABLES)) {
      const [found] = await tx.$queryRawUnsafe<{ rows: string | null }[]>(
        `select string_agg(t::text, e'\\n' order by t::text) as rows from "${name}" t where ${name === "tenant" ? "id" : "tenant_id"} = $1::uuid`,
        tenantId,
      );
      rows[name] = found?.rows ?? null;
    }
    return rows;
  });
}
