/** When generations will start, and why not yet: for those who may read them. */
import type { GenerationState } from "../generated/prisma/enums.ts";
import type { WantedWork } from "../generation/outlook.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import type { ReadSession } from "../platform/read-session.ts";
import { countQueue, readAhead, readScheduled, readWeight } from "./forecast.store.ts";
import type { PoolForecast } from "./pool-forecast.ts";
import type { PoolForecasts } from "./pool-forecasts.ts";
import { type Scheduled, type Times, timesOf } from "./schedule.ts";

export class Schedules {
  constructor(
    private readonly db: Database,
    private readonly forecasts: PoolForecasts,
  ) {}

  /** What a field needs; undefined for what has ended. Those of a request are read together. */
  async find(
    reads: ReadSession,
    { id, state }: { readonly id: string; readonly state?: GenerationState },
  ): Promise<{ readonly row: Scheduled; readonly forecast: PoolForecast } | undefined> {
    if (state !== undefined && state !== "QUEUED" && state !== "RUNNING") return undefined;
    const row = await reads.load(readScheduled, id);
    if (row === undefined || row.state === "ENDED") return undefined;
    const forecast = await this.forecasts.of(row.pool);
    if (row.state === "QUEUED") await forecast.include(row);
    const isFar = row.state === "QUEUED" && forecast.placeOf(id) === undefined;
    const ahead = isFar ? await reads.load(readAhead, id) : 0;
    return { row: { ...row, ahead: ahead ?? 0 }, forecast };
  }

  /** When it would start and finish if it were asked for now. */
  async expect({ pool, ...work }: WantedWork): Promise<Times> {
    const forecast = await this.forecasts.of(pool);
    const { weight, ahead } = await this.db.transaction(asTenant(work.tenantId), async (tx) => ({
      weight: await readWeight(tx, work.tenantId),
      ahead: await countQueue(tx, pool, work),
    }));
    const isNew = { isNew: true, createdAt: forecast.state.now, notBefore: null, deadlineAt: null };
    const waiting = { ...work, ...isNew, id: newId(), weight };
    const start = forecast.expect(waiting);
    if (start !== undefined) return start;
    const unstarted = { state: "QUEUED", isSuspended: false, startedAt: null, predictedMs: null } as const;
    return timesOf({ ...waiting, ...unstarted, pool, ahead }, forecast);
  }
}
