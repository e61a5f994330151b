/** Dead letters: what operators of a tenant, or of the platform, look at when the server could not do what it was asked for. */
import type { Principal } from "../auth/principal.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { toGlobalId } from "../platform/ids.ts";
import { pageOf, pageRequest } from "../platform/page.ts";
import { readAllTenants, readTenant } from "../tenancy/tenant-reading.ts";
import { listDeadLetters } from "./dead-letter.store.ts";
import type { DeadLetter, DeadLetterArguments, DeadLetterConnection } from "./dead-letter.type.ts";
import { failureOf } from "./generation.mapper.ts";
import type { GenerationDetails } from "./generation.store.ts";
import { readReplays } from "./replay.store.ts";

interface Found {
  readonly rows: readonly GenerationDetails[];
  readonly replays: ReadonlyMap<string, readonly GenerationDetails[]>;
}

export class DeadLetterService {
  constructor(private readonly db: Database) {}

  async list(
    principal: Principal,
    { tenantId, allTenants, ...page }: DeadLetterArguments,
  ): Promise<DeadLetterConnection> {
    const request = pageRequest(page);
    if (allTenants && tenantId !== undefined)
      throw new DomainError("INVALID_INPUT", "Give either tenantId or allTenants.", { path: ["allTenants"] });
    const read = async (tx: Tx, of: string | undefined): Promise<Found> => {
      const rows = await listDeadLetters(tx, of, request);
      const ids = rows.map(({ id }) => id);
      return { rows, replays: await readReplays(tx, ids) };
    };
    const action = "deadLetter:read";
    const { rows, replays } = allTenants
      ? await readAllTenants(this.db, principal, action, (tx) => read(tx, undefined))
      : await readTenant(this.db, principal, { action, tenantId, path: ["tenantId"] }, read);
    return pageOf(rows, request, (row) => toDeadLetter(row, replays.get(row.id) ?? []));
  }
}

function toDeadLetter(row: GenerationDetails, replays: readonly GenerationDetails[]): DeadLetter {
  const { pool, preset, task, priority, createdAt, finishedAt, attempts } = row;
  return {
    id: toGlobalId("Generation", row.id),
    tenantId: toGlobalId("Tenant", row.tenantId),
    userId: toGlobalId("User", row.userId),
    ...{ pool, preset, task, priority, createdAt, finishedAt, attempts },
    failure: failureOf(row),
    replayIds: replays.map(({ id }) => toGlobalId("Generation", id)),
  };
}
