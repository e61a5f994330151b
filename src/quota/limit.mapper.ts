/** Stored limits in their public form. */
import { toEtag } from "../platform/etag.ts";
import { toGlobalId } from "../platform/ids.ts";
import { formatAmount } from "./amount.ts";
import type { LimitRow } from "./limit.store.ts";
import type { Limit } from "./limit.type.ts";
import type { CreditBalance } from "./quota.type.ts";
import { availableOf, roomAt } from "./quota-error.ts";
import { formatCredits } from "./tariff.ts";

const ID_TYPES = { TENANT: "Tenant", MEMBER: "User", API_KEY: "ApiKey" } as const;

export function toLimit(row: LimitRow): Limit {
  const { level, kind, window, isRolling, subjectId } = row;
  return {
    level,
    subjectId: level === "PLATFORM" ? null : toGlobalId(ID_TYPES[level], subjectId),
    kind,
    window,
    isRolling,
    max: formatAmount(kind, row.max),
    used: formatAmount(kind, row.used),
    held: formatAmount(kind, row.held),
    available: formatAmount(kind, availableOf(row)),
    resetsAt: row.used === 0n ? null : (roomAt({ ...row, held: 0n }, 0n) ?? null),
    etag: toEtag(row.version),
  };
}

/** Without a row, nothing was granted yet. */
export function toBalance(row: LimitRow | undefined): CreditBalance {
  const { max, used, held, version } = row ?? { max: 0n, used: 0n, held: 0n, version: 0 };
  return {
    granted: formatCredits(max),
    used: formatCredits(used),
    held: formatCredits(held),
    available: formatCredits(max - used - held),
    etag: toEtag(version),
  };
}
