/** When generations will start, and why not yet: for those who may read them. */
import type { GenerationState } from "../generated/prisma/enums.ts";
import type { Outlook, Outlooks, WantedWork } from "../generation/outlook.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import type { ReadSession } from "../platform/read-session.ts";
import { countQueue, readAhead, readNow, readScheduled, readWeight } from "./forecast.store.ts";
import type { PoolForecast } from "./pool-forecast.ts";
import type { PoolForecasts } from "./pool-forecasts.ts";
import { type Scheduled, type Times, timesOf } from "./schedule.ts";

/** Of the time that is expected: hardly anything takes less. */
const CERTAIN_PART = 0.5;

export class Schedules implements Outlooks {
  constructor(
    private readonly db: Database,
    readonly forecasts: PoolForecasts,
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
  async expect(work: WantedWork): Promise<Times> {
    return (await this.foresee(work)).times;
  }

  async outlook(work: WantedWork): Promise<Outlook | undefined> {
    const { now, forecast, times } = await this.foresee(work);
    const { preset, task } = work;
    if (times.finishAt === undefined || !forecast.state.durations.hasLearned({ preset, task, groupPictures: 1 }))
      return undefined;
    const waitMs = times.finishAt.getTime() - now.getTime();
    return { now, expectedAt: times.finishAt, earliestAt: new Date(now.getTime() + CERTAIN_PART * waitMs) };
  }

  private async foresee({
    pool,
    ...work
  }: WantedWork): Promise<{ readonly now: Date; readonly forecast: PoolForecast; readonly times: Times }> {
    const forecast = await this.forecasts.of(pool);
    const { now, weight, ahead } = await this.db.transaction(asTenant(work.tenantId), async (tx) => ({
      now: await readNow(tx),
      weight: await readWeight(tx, work.tenantId),
      ahead: await countQueue(tx, pool, work),
    }));
    const isNew = { isNew: true, suspicion: null, createdAt: forecast.state.now, notBefore: null, deadlineAt: null };
    const waiting = { ...work, ...isNew, id: newId(), weight };
    const unstarted = { state: "QUEUED", isSuspended: false, startedAt: null, predictedMs: null } as const;
    const times = forecast.expect(waiting) ?? timesOf({ ...waiting, ...unstarted, pool, ahead }, forecast);
    return { now, forecast, times: notBefore(now, times) };
  }
}

/** The forecast may be a second old: what would have started meanwhile starts now. */
function notBefore(now: Date, { startAt, finishAt }: Times): Times {
  const lateMs = startAt === undefined ? 0 : Math.max(0, now.getTime() - startAt.getTime());
  const later = (time: Date | undefined): Date | undefined => time && new Date(time.getTime() + lateMs);
  return { startAt: later(startAt), finishAt: later(finishAt) };
}
