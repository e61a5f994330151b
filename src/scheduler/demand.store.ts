import { Prisma } from "../generated/prisma/client.ts";
import type { TaskKind } from "../generated/prisma/enums.ts";
import { parseTask, type Task } from "../generation/settings.ts";
import type { Tx } from "../platform/database.ts";

/** Of a pool: whoever adds workers for so many need not know of more. */
const MAX_COUNTED = 10_000;
/** Queued work of which this is all that matters is counted together. */
const WITHOUT_TEXTS = Prisma.sql`settings || jsonb_strip_nulls(jsonb_build_object('seed', '0', 'prompt', left(settings->>'prompt', 0),
  'instruction', left(settings->>'instruction', 0), 'question', left(settings->>'question', 0),
  'unconditionalPrompt', left(settings->>'unconditionalPrompt', 0)))`;

/** Generations that are alike as far as their duration is concerned. */
export interface QueuedWork {
  readonly preset: string;
  readonly task: Task;
  readonly count: number;
}

export async function listQueuedWork(tx: Tx, pool: string): Promise<readonly QueuedWork[]> {
  const rows = await tx.$queryRaw<{ preset: string; kind: TaskKind; settings: unknown; count: number }[]>`
    select preset, kind, settings, count(*)::int as count from (
      select preset, task as kind, ${WITHOUT_TEXTS} as settings from generation
      where pool = ${pool} and finished_at is null and not parked and state = 'QUEUED' limit ${MAX_COUNTED}::int
    ) as queued group by preset, kind, settings`;
  return rows.map(({ preset, kind, settings, count }) => ({
    preset,
    task: parseTask({ task: kind, settings }),
    count,
  }));
}

/** Generations that run, and workers that run something. */
export async function countRunning(tx: Tx, pool: string): Promise<{ running: number; busyWorkers: number }> {
  const [row] = await tx.$queryRaw<{ running: number; busyWorkers: number }[]>`
    select count(*)::int as running, count(distinct a.worker)::int as "busyWorkers"
    from attempt a join generation g on g.id = a.generation_id
    where a.ended_at is null and g.pool = ${pool} and g.state = 'RUNNING'`;
  return row ?? { running: 0, busyWorkers: 0 };
}
