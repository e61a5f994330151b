import type { Tenant as TenantRow } from "../generated/prisma/client.ts";
import { toEtag } from "../platform/etag.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { Tenant } from "./viewer.type.ts";

export const toTenant = ({ id, name, createdAt, suspendedAt, version, ...row }: TenantRow): Tenant => ({
  id: toGlobalId("Tenant", id),
  name,
  createdAt,
  suspendedAt,
  erasedAt: row.erasedAt,
  retention: { outputsDays: row.outputsDays, inputsDays: row.inputsDays, promptsDays: row.promptsDays },
  shareWeight: row.shareWeight,
  etag: toEtag(version),
  uuid: id,
});
