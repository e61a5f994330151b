/** Workers, as administrators of the platform see and drain them. Each change is in the platform's audit log. */
import { z } from "zod";
import { appendAudit, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { authorizePlatform } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { asDispatcher, asPlatform } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { isStorable, readReason } from "../platform/text.ts";
import { listWorkers, lockDrain, setDrain, type WorkerRow } from "./worker.store.ts";
import type { DrainWorkerInput, ResumeWorkerInput, Worker, WorkerState } from "./worker.type.ts";

const presetsSchema = z.array(z.object({ name: z.string(), buildDigest: z.string() }));

export class WorkerService {
  constructor(private readonly db: Database) {}

  /** Nothing in it is a tenant's. */
  async list(principal: Principal, pool: string | undefined): Promise<readonly Worker[]> {
    authorizePlatform(principal);
    if (pool !== undefined && !isStorable(pool)) return [];
    return (await this.db.transaction(asDispatcher, (tx) => listWorkers(tx, { pool }))).map(toWorker);
  }

  drain(principal: Principal, { yieldRunning, ...input }: DrainWorkerInput): Promise<Worker> {
    return this.change(principal, input, { action: "worker:drain", yields: yieldRunning });
  }

  resume(principal: Principal, input: ResumeWorkerInput): Promise<Worker> {
    return this.change(principal, input, { action: "worker:resume", yields: undefined });
  }

  /** The leader of the pool reads the wish; what is as it was already is no change. */
  private async change(
    principal: Principal,
    { pool, name, ...input }: ResumeWorkerInput,
    { action, yields }: { readonly action: string; readonly yields: boolean | undefined },
  ): Promise<Worker> {
    authorizePlatform(principal);
    const reason = readReason(input.reason);
    if (!isStorable(pool) || !isStorable(name)) throw noWorker(pool, name);
    const worker = await this.db.transaction(asPlatform, async (tx) => {
      const before = await lockDrain(tx, { pool, name });
      await setDrain(tx, { pool, name }, yields);
      const [row] = await listWorkers(tx, { pool, name });
      if (before === undefined || row === undefined) throw noWorker(pool, name);
      const wasYielding = before.drainRequestedAt === null ? undefined : before.drainYields;
      if (wasYielding !== yields) {
        const target = { type: "Worker", id: `${pool}/${name}` };
        const facts = { before: factsOf(wasYielding), after: factsOf(yields) };
        await appendAudit(tx, PLATFORM_CHAIN, { actor: actorOf(principal), action, target, reason, ...facts });
      }
      return toWorker(row);
    });
    this.db.doorbell.ring();
    return worker;
  }
}

const factsOf = (yields: boolean | undefined) => ({ drains: yields !== undefined, yieldsRunning: yields ?? false });

const noWorker = (pool: string, name: string): DomainError =>
  new DomainError("NOT_FOUND", `There is no worker "${name.slice(0, 64)}" in the pool "${pool.slice(0, 64)}".`, {
    path: ["input", "name"],
  });

const toWorker = ({ presets, ...row }: WorkerRow): Worker => ({
  ...row,
  presets: presetsSchema.parse(presets),
  state: stateOf(row),
});

function stateOf({ isGone, drainRequestedAt, running, slots, isQuarantined }: Omit<WorkerRow, "presets">): WorkerState {
  if (isGone) return "GONE";
  if (drainRequestedAt !== null) return running > 0 ? "DRAINING" : "DRAINED";
  if (slots === 0) return "NOT_READY";
  if (isQuarantined) return "QUARANTINED";
  return running > 0 ? "BUSY" : "READY";
}
