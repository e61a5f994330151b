/** Other queues on PostgreSQL, taken from as their own runners take. */
import { EventEmitter } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type Job, Logger, makeWorkerUtils, run, type WorkerUtils } from "graphile-worker";
import pg from "pg";
import PgBoss from "pg-boss";

/** Work is taken for free slots, then put back, so that the next round meets the same queue. */
export interface Queue {
  readonly name: string;
  /** @returns how many were taken */
  take(slots: number): Promise<number>;
  /** What it does between two times that something is taken, where it does anything; not part of their time. */
  prepare?(): Promise<void>;
  putBack(): Promise<void>;
  close(): Promise<void>;
}

/** Connections, as many as we have. */
const POOL_SIZE = 10;
const TASK = "draw";

type BatchGetJobs = (
  options: unknown,
  withClient: unknown,
  tasks: object,
  poolId: string,
  flagsToSkip: null,
  batchSize: number,
) => Promise<readonly Job[]>;

/** The query of its runner is not public: it is called as the runner's local queue calls it. */
const inside = (path: string): string => {
  const require = createRequire(import.meta.url);
  return require(join(dirname(require.resolve("graphile-worker")), path));
};

/** For a whole batch, as with its local queue; and for one job at a time, as without. */
export async function openGraphileWorker(url: string, queued: number): Promise<readonly Queue[]> {
  const pool = new pg.Pool({ connectionString: url, max: POOL_SIZE });
  await withUtils(pool, (utils) => utils.migrate());
  await addJobs(pool, queued);
  const { batchGetJobs } = inside("sql/getJobs.js") as unknown as { batchGetJobs: BatchGetJobs };
  const { processSharedOptions } = inside("lib.js") as unknown as {
    processSharedOptions: (options: object) => unknown;
  };
  const options = processSharedOptions({ pgPool: pool });
  const withClient = Object.assign(
    async <T>(callback: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
      const client = await pool.connect();
      try {
        return await callback(client);
      } finally {
        client.release();
      }
    },
    { withRetries: undefined as unknown },
  );
  withClient.withRetries = withClient;
  const get = (count: number): Promise<readonly Job[]> =>
    batchGetJobs(options, withClient, { [TASK]: async () => {} }, "bench", null, count);
  const putBack = async (): Promise<void> => {
    await pool.query(
      "update graphile_worker._private_jobs set locked_at = null, locked_by = null, attempts = 0, run_at = now() where locked_at is not null",
    );
  };
  return [
    {
      name: "graphile-worker, batch",
      take: async (slots) => (await get(slots)).length,
      putBack,
      close: async () => {},
    },
    {
      name: "graphile-worker, one by one",
      take: async (slots) => (await Promise.all(Array.from({ length: slots }, () => get(1)))).flat().length,
      putBack,
      close: () => pool.end(),
    },
  ];
}

async function withUtils(pool: pg.Pool, use: (utils: WorkerUtils) => Promise<void>): Promise<void> {
  const utils = await makeWorkerUtils({ pgPool: pool });
  await use(utils);
  await utils.release();
}

async function addJobs(pool: pg.Pool, count: number): Promise<void> {
  await pool.query(
    `select graphile_worker.add_jobs(array(select row($1, json_build_object('id', n), null, now() - interval '1 day', 25, null, 0, null)::graphile_worker.job_spec from generate_series(1, $2::int) as n))`,
    [TASK, count],
  );
  await pool.query("vacuum analyze");
}

/** A runner of graphile-worker that works for nothing: so many tasks at once that return at once. */
export interface Runner {
  readonly name: string;
  /** @returns milliseconds until so many jobs are taken, done and reported done */
  drain(jobs: number): Promise<number>;
}

/** Its runner as it comes, and as its own benchmark sets it: a local queue of 500, and reports in batches. */
export async function openRunners(
  url: string,
  atOnce: number,
): Promise<readonly [Runner, Runner, () => Promise<void>]> {
  const pool = new pg.Pool({ connectionString: url, max: Math.max(POOL_SIZE, atOnce + 2) });
  // It warns of pools where nobody listens to errors.
  pool.on("error", (error) => {
    throw error;
  });
  pool.on("connect", (client) => client.on("error", () => {}));
  await withUtils(pool, (utils) => utils.migrate());
  const runner = (name: string, worker: object): Runner => ({
    name,
    async drain(jobs) {
      await addJobs(pool, jobs);
      const done = new EventEmitter();
      let left = jobs;
      const begun = performance.now();
      const running = await run({
        pgPool: pool,
        noHandleSignals: true,
        logger: new Logger(() => () => {}),
        events: done,
        taskList: { [TASK]: async () => {} },
        preset: { worker: { concurrentJobs: atOnce, ...worker } },
      });
      await new Promise<void>((resolve) => {
        done.on("job:complete", () => {
          left--;
          if (left === 0) resolve();
        });
      });
      const ms = performance.now() - begun;
      await running.stop();
      const { rows } = await pool.query("select count(*)::int as count from graphile_worker._private_jobs");
      if (rows[0].count !== 0) throw new Error(`${name} left ${rows[0].count} jobs`);
      return ms;
    },
  });
  return [
    runner("graphile-worker's runner", {}),
    runner("graphile-worker's runner, batched", {
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    }),
    () => pool.end(),
  ];
}

export async function openPgBoss(url: string, queued: number): Promise<Queue> {
  const pool = new pg.Pool({ connectionString: url, max: POOL_SIZE });
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false, max: POOL_SIZE });
  await boss.start();
  await boss.createQueue(TASK);
  const total = 1000;
  for (let done = 0; done < queued; done += total)
    await boss.insert(Array.from({ length: Math.min(total, queued - done) }, (_, i) => ({ name: TASK, data: { i } })));
  await pool.query("vacuum analyze");
  return {
    name: "pg-boss",
    take: async (slots) => (await boss.fetch(TASK, { batchSize: slots })).length,
    async putBack() {
      await pool.query(
        "update pgboss.job set state = 'created', started_on = null, created_on = now() where state = 'active'",
      );
    },
    async close() {
      await boss.stop({ graceful: false, wait: true });
      await pool.end();
    },
  };
}
