/** A stored key as the API and the audit log show it: never its hash. */
import type { ApiKey as ApiKeyRow } from "../generated/prisma/client.ts";
import { toEtag } from "../platform/etag.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { ApiKey } from "./api-key.type.ts";
import { orAll } from "./auth.store.ts";

export const toApiKey = ({ id, userId, replacedBy, version, hash: _, tenantId: __, ...row }: ApiKeyRow): ApiKey => ({
  ...row,
  id: toGlobalId("ApiKey", id),
  userId: toGlobalId("User", userId),
  scopes: orAll(row.scopes),
  allowedPresets: orAll(row.allowedPresets),
  replacedById: replacedBy === null ? null : toGlobalId("ApiKey", replacedBy),
  etag: toEtag(version),
});

export const apiKeyFacts = ({ name, prefix, userId, scopes, allowedPresets, ...row }: ApiKeyRow) => ({
  name,
  prefix,
  userId,
  scopes,
  allowedPresets,
  expiresAt: row.expiresAt?.toISOString() ?? null,
  revokedAt: row.revokedAt?.toISOString() ?? null,
  replacedBy: row.replacedBy,
});
