/** Finds things of any type by their global id, under the rights that hold for reading them by their own fields. */

import { toApiKey } from "../auth/api-key.mapper.ts";
import { readApiKeys } from "../auth/api-key.store.ts";
import { authorize, may, type Resource } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { toBatch } from "../generation/batch.mapper.ts";
import { readBatches } from "../generation/batch.store.ts";
import { toGeneration, toImage } from "../generation/generation.mapper.ts";
import { readGenerations } from "../generation/generation.store.ts";
import { readImages } from "../generation/image.store.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, type IdType, notFound, toGlobalId, typeOfGlobalId } from "../platform/ids.ts";
import type { Node } from "../platform/node.type.ts";
import type { ReadMany, ReadSession } from "../platform/read-session.ts";
import { readTenants, readUsers } from "../tenancy/tenancy.store.ts";
import { toTenant } from "../tenancy/tenant.mapper.ts";
import { toUpload } from "../upload/upload.service.ts";
import { readUploads } from "../upload/upload.store.ts";

/** How things of one type are read. */
interface Kind {
  find(reads: ReadSession, principal: Principal, id: string): Promise<Node | undefined>;
}

interface KindOptions<Row> {
  readonly readMany: ReadMany<string, Row>;
  /** Throws unless the principal may read such things at all. */
  admit(principal: Principal): void;
  mayRead(principal: Principal, row: Row): boolean;
  toNode(row: Row): Node;
}

const kind = <Row>({ readMany, admit, mayRead, toNode }: KindOptions<Row>): Kind => ({
  async find(reads, principal, id) {
    admit(principal);
    const row = await reads.load(readMany, id);
    return row !== undefined && mayRead(principal, row) ? toNode(row) : undefined;
  },
});

/** Things that a member made. */
const made = <Row extends Resource>(readMany: ReadMany<string, Row>, toNode: (row: Row) => Node): Kind =>
  kind({
    readMany,
    admit: (principal) => authorize(principal, "generation:read"),
    mayRead: (principal, row) => may(principal, "generation:read", row),
    toNode,
  });

const KINDS: Record<IdType, Kind> = {
  Generation: made(readGenerations, toGeneration),
  Batch: made(readBatches, toBatch),
  Image: made(readImages, toImage),
  Upload: made(readUploads, toUpload),
  ApiKey: kind({
    readMany: readApiKeys,
    admit: (principal) => authorize(principal, "key:read"),
    mayRead: (principal, row) => may(principal, "key:read", row),
    toNode: toApiKey,
  }),
  // As with `viewer` and `createdBy`: one's own tenant, and who is a member of it.
  Tenant: kind({
    readMany: readTenants,
    admit: () => {},
    mayRead: ({ tenantId }, { id }) => id === tenantId,
    toNode: toTenant,
  }),
  User: kind({
    readMany: readUsers,
    admit: () => {},
    mayRead: () => true, // the transaction sees members only
    toNode: (user) => ({ ...user, id: toGlobalId("User", user.id) }),
  }),
};

/** @param path of the argument */
export async function findNode(
  reads: ReadSession,
  principal: Principal,
  { globalId, path }: { globalId: string; path: readonly string[] },
): Promise<Node> {
  const type = typeOfGlobalId(globalId);
  if (type === undefined)
    throw new DomainError("NOT_FOUND", `There is nothing with the id "${globalId.slice(0, 64)}".`, { path });
  const node = await KINDS[type].find(reads, principal, fromGlobalId(type, globalId, path));
  if (node === undefined) throw notFound(type, globalId, path);
  return node;
}
