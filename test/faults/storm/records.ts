/** What the database says of every generation, read as its administrator. */
import pg from "pg";

export interface MilestoneRecord {
  readonly seq: number;
  readonly kind: string;
  readonly attempt: number;
  readonly state: string;
  readonly message: string | null;
  readonly at: string;
}

export interface AttemptRecord {
  readonly number: number;
  readonly worker: string;
  readonly started_at: string;
  readonly ended_at: string | null;
  readonly outcome: string | null;
  readonly failure_class: string | null;
  readonly message: string | null;
  readonly steps_done: number;
  readonly checkpoint_steps: number | null;
}

export interface GenerationRecord {
  readonly id: string;
  readonly state: string;
  readonly priority: string;
  readonly batchId: string | null;
  readonly batchIndex: number | null;
  readonly milestoneSeq: number;
  readonly failedAttempts: number;
  readonly isCancelRequested: boolean;
  readonly answer: string | null;
  readonly milestones: readonly MilestoneRecord[];
  readonly attempts: readonly AttemptRecord[];
  readonly images: readonly { index: number; sha256: string }[];
  /** Kinds of its entries in the ledger, but for the one that reserved. */
  readonly ends: readonly string[];
}

export interface Records {
  readonly generations: readonly GenerationRecord[];
  /** Counters that should be zero when nothing waits or runs, and are not. */
  readonly leaks: readonly object[];
  readonly unfinishedBatches: readonly object[];
}

/** @param url of an ordinary login on a private server, whose administrator everybody may be */
export async function readRecords(url: string): Promise<Records> {
  const address = new URL(url);
  address.username = "admin";
  address.password = "";
  const client = new pg.Client({ connectionString: address.href });
  await client.connect();
  try {
    const generations = await client.query(`
      select g.id, g.state, g.priority, g.batch_id as "batchId", g.batch_index as "batchIndex", g.milestone_seq as "milestoneSeq",
        g.failed_attempts as "failedAttempts", g.cancel_requested_at is not null as "isCancelRequested", g.answer,
        coalesce((select json_agg(m order by m.seq) from milestone m where m.generation_id = g.id), '[]') as milestones,
        coalesce((select json_agg(a order by a.number) from (
          select number, worker, started_at, ended_at, outcome, failure_class, message, steps_done, checkpoint_steps
          from attempt where generation_id = g.id) a), '[]') as attempts,
        coalesce((select json_agg(i order by i.index) from image i where i.generation_id = g.id), '[]') as images,
        coalesce((select json_agg(e.kind) from ledger_entry e where e.generation_id = g.id and e.kind <> 'RESERVE'), '[]') as ends
      from generation g order by g.id`);
    const leaks = await client.query(`
      select * from limits where held <> 0 or (kind in ('RUNNING', 'QUEUED') and used <> 0)`);
    const batches = await client.query(`select * from batch where finished_at is null and accepted_at is not null`);
    return { generations: generations.rows, leaks: leaks.rows, unfinishedBatches: batches.rows };
  } finally {
    await client.end();
  }
}
