/** Reports to tenants on what they were entitled to, and what they got. */
import type { Principal } from "../auth/principal.ts";
import type { Database } from "../platform/database.ts";
import { readTenant } from "../tenancy/tenant-reading.ts";
import { sumMinutes } from "./fairness.store.ts";
import { quantileMs } from "./fairness.ts";
import type { FairnessArguments, FairnessReport, FairnessWindow } from "./fairness.type.ts";

const HOURS: Record<FairnessWindow, number> = { HOUR: 1, DAY: 24, WEEK: 7 * 24 };

export class FairnessService {
  constructor(private readonly db: Database) {}

  /** Of one's own tenant for its operators, of any for administrators of the platform. */
  async report(principal: Principal, { window, tenantId }: FairnessArguments): Promise<FairnessReport> {
    const reading = { action: "fairness:read", tenantId, path: ["tenantId"] } as const;
    const { waits, poolMs, ...sum } = await readTenant(this.db, principal, reading, (tx, id) =>
      sumMinutes(tx, id, HOURS[window]),
    );
    return {
      window,
      ...sum,
      entitledShare: shareOf(sum.entitledMs, poolMs),
      receivedShare: shareOf(sum.receivedMs, poolMs),
      started: waits.reduce((total, count) => total + count, 0),
      p50WaitMs: rounded(quantileMs(waits, 0.5)),
      p95WaitMs: rounded(quantileMs(waits, 0.95)),
    };
  }
}

const shareOf = (ms: number, poolMs: number): number => (poolMs === 0 ? 0 : ms / poolMs);

const rounded = (ms: number | undefined): number | null => (ms === undefined ? null : Math.round(ms));
