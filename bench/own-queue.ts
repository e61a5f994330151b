/** Our queue for benches: taken from as the dispatcher takes, on a filled database. */
import { claimAll } from "../src/generation/claim.store.ts";
import { asDispatcher, asPlatform } from "../src/platform/access.ts";
import { Database } from "../src/platform/database.ts";
import { openPostgresDatabase } from "../src/platform/database-postgres.ts";
import { newId } from "../src/platform/ids.ts";
import { createLogger } from "../src/platform/logger.ts";
import type { IdleWorker, Slot } from "../src/pool/worker-pool.ts";
import { takePoolLease } from "../src/scheduler/pool-lease.store.ts";
import { PoolQueue, shareOf, type Turn } from "../src/scheduler/pool-queue.ts";
import { fillQueue } from "./filled-queue.ts";
import type { Queue } from "./other-queues.ts";

const CLAIMANT = { holder: newId(), leaseSeconds: 3600, pool: "local" };
const slot = { worker: { worker: { name: "bench" } } } as unknown as Slot;
const idleWorker: IdleWorker = { presets: ["tiny"], slots: [slot] };

export interface OwnQueue extends Queue {
  prepare(): Promise<void>;
  /** What was taken has run: it counts to nobody's share or limits in memory any more. Its rows stay as they are. */
  end(): void;
}

export async function openOwnQueue(url: string, queued: number, tenants: number): Promise<OwnQueue> {
  const engine = await openPostgresDatabase({ url, logger: createLogger("warn") });
  const db = await Database.open(engine, "prisma/migrations");
  await fillQueue(url, queued, tenants);
  const queue = new PoolQueue({ pool: "local", ageingMs: 600_000 });
  const taken: string[] = [];
  let running: Turn[] = [];
  const reading = db.singly(asDispatcher);
  const lease = { pool: "local", holder: CLAIMANT.holder, seconds: CLAIMANT.leaseSeconds, isExclusive: false };
  await db.transaction(asDispatcher, (tx) => takePoolLease(tx, lease));
  const takeOn = async (slots: number): Promise<readonly string[]> => {
    const idle = Array.from({ length: slots }, () => ({ ...idleWorker }));
    const groups = await queue.choose(reading, idle, new Date());
    const turns = groups.flatMap((group) => group.turns);
    const claims = turns.map((turn) => ({
      generationId: turn.candidate.id,
      leaseId: newId(),
      worker: "bench",
      predictedMs: turn.predictedMs,
      share: shareOf(turn),
    }));
    const outcomes = (await claimAll(reading, CLAIMANT, claims)) ?? [];
    for (const [i, turn] of turns.entries())
      if (typeof outcomes[i] !== "object") queue.refused(turn, { isHeld: outcomes[i] === "LIMITED" });
    running.push(...turns);
    if (queue.hasToSave) await db.transaction(asDispatcher, (tx) => queue.save(tx));
    return outcomes.flatMap((outcome) => (typeof outcome === "object" ? [outcome.id] : []));
  };
  const end = (): void => {
    for (const turn of running) queue.ended(turn, { ms: turn.predictedMs, isWhole: true });
    running = [];
  };
  return {
    name: "atelier",
    async take(slots) {
      const ids = await takeOn(slots);
      taken.push(...ids);
      return ids.length;
    },
    end,
    async putBack() {
      end();
      await db.transaction(asPlatform, async (tx) => {
        await tx.$executeRaw`
          update generation set state = 'QUEUED', lease_id = null, lease_holder = null, lease_expires_at = null, queued_xid = pg_current_xact_id(), created_at = clock_timestamp()
          where id = any(${taken.splice(0)}::uuid[])`;
        await tx.$executeRaw`update limits set held = 0 where kind = 'RUNNING' and held > 0`;
      });
    },
    async prepare() {
      queue.rang();
      await queue.prepare(reading);
    },
    close: () => db.close(),
  };
}
