/** The scheduler over a database: the rows, claims and transitions are the real ones, only time and workers are made up. */
import type { GenerationState } from "../../src/generated/prisma/enums.ts";
import { claimAll } from "../../src/generation/claim.store.ts";
import { GenerationLifecycle } from "../../src/generation/generation-lifecycle.ts";
import { takeIn } from "../../src/generation/intake.store.ts";
import type { Fence } from "../../src/generation/transition.store.ts";
import { asDispatcher, asPlatform, asTenant } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import type { IdleWorker, Slot } from "../../src/pool/worker-pool.ts";
import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { picturesOf } from "../../src/scheduler/group-filling.ts";
import { PoolQueue, shareOf, type Turn } from "../../src/scheduler/pool-queue.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { candidateFor } from "../support/payers.ts";
import { EPOCH_MS, taskOf, type Wanted } from "./scenario.ts";
import type { AttemptEnd, Begun, IdleWorkerOf, World } from "./world.ts";

const POOL = "p";
const MAX_CLAIM_ROUNDS = 4;
const MESSAGE = "as the scenario says";

export class DatabaseWorld implements World {
  /** Generations whose fenced write found that the lease was another's. */
  readonly gone: string[] = [];
  private readonly lifecycle: GenerationLifecycle;
  private readonly running = new Map<string, { readonly fence: Fence; readonly turn: Turn }>();
  private queued: PoolQueue;

  constructor(
    private readonly db: Database,
    private readonly options: { readonly ageingMs: number },
  ) {
    this.lifecycle = new GenerationLifecycle(db, new QuotaService(), new InProcessFrameBus(new FakeClock()));
    this.queued = new PoolQueue({ pool: POOL, ...options });
  }

  async queue(wanted: Wanted): Promise<void> {
    const { id, tenantId, userId, apiKeyId, preset, priority, arrivesAt } = wanted;
    const candidate = candidateFor({ tenantId, userId, apiKeyId }, id, { credits: 1n, pixels: 0n });
    const generation = { ...candidate.generation, pool: POOL, preset, priority, task: taskOf(wanted) };
    const [intake] = await this.db.transaction(asTenant(tenantId), (tx) =>
      takeIn(tx, tenantId, [{ ...candidate, generation }]),
    );
    if (intake === undefined || !("row" in intake)) throw new Error(`${id} was not taken in`);
    const createdAt = new Date(EPOCH_MS + arrivesAt);
    await this.db.transaction(asPlatform, (tx) => tx.generation.update({ where: { id }, data: { createdAt } }));
  }

  /** As the dispatcher claims. */
  async claim(idle: readonly IdleWorkerOf[], now: number): Promise<readonly (readonly Begun[])[]> {
    const groups: (readonly Begun[])[] = [];
    let left = idle;
    for (let round = 0; left.length > 0 && round < MAX_CLAIM_ROUNDS; round++) {
      const claimed = await this.claimRound(left, now);
      const served = claimed.filter((group) => group.length > 0);
      groups.push(...served);
      if (served.length === claimed.length) break;
      const used = new Set(served.flatMap((group) => group.map(({ worker }) => worker)));
      left = left.filter(({ name }) => !used.has(name));
    }
    if (this.queued.hasToSave) await this.save();
    return groups;
  }

  countForeground(max: number, now: number): Promise<number> {
    const at = new Date(EPOCH_MS + now);
    this.queued.rang();
    return this.queued.countForeground(this.db.singly(asDispatcher), { presets: ["tiny"], max, now: at });
  }

  async end({ id }: Begun, end: AttemptEnd): Promise<GenerationState> {
    const run = this.running.get(id);
    if (run === undefined) throw new Error(`${id} does not run`);
    this.running.delete(id);
    if ((await this.write(run.fence, end)) === "gone") this.gone.push(id);
    this.queued.ended(run.turn, { ms: end.heldMs, isWhole: end.isWhole });
    return this.stateOf(id);
  }

  async drop({ id }: Wanted, state: "CANCELED" | "EXPIRED"): Promise<void> {
    await this.db.transaction(asDispatcher, (tx) => this.lifecycle.endQueued(tx, id, { state }));
  }

  /** Another process leads from now on, and reads what is stored. What runs goes on. */
  async changeLeader(): Promise<void> {
    await this.save();
    this.queued = new PoolQueue({ pool: POOL, ...this.options });
  }

  private async claimRound(idle: readonly IdleWorkerOf[], now: number): Promise<readonly (readonly Begun[])[]> {
    const db = this.db.singly(asDispatcher);
    const workers = idle.map(({ name, presets, slots }): IdleWorker => {
      const slot = { worker: { worker: { name } } } as unknown as Slot;
      return { presets, slots: Array.from({ length: slots }, () => slot) };
    });
    this.queued.rang();
    const chosen = await this.queued.choose(db, workers, new Date(EPOCH_MS + now));
    const asked = chosen.map(({ turns, slots }) =>
      turns.map((turn) => {
        const claim = {
          generationId: turn.candidate.id,
          leaseId: newId(),
          worker: slots[0]?.worker.worker.name ?? "",
          predictedMs: turn.predictedMs / shareOf(turn),
          share: shareOf(turn),
        };
        return { turn, claim };
      }),
    );
    const claims = asked.flat().map(({ claim }) => claim);
    const outcomes = (await claimAll(db, { holder: newId(), leaseSeconds: 600 }, claims)) ?? [];
    const outcomeOf = new Map(claims.map((claim, i) => [claim, outcomes[i]]));
    return asked.map((group) => {
      const started = group.filter(({ turn, claim }) => {
        const outcome = outcomeOf.get(claim);
        if (typeof outcome !== "object") this.queued.refused(turn, { isHeld: outcome === "LIMITED" });
        return typeof outcome === "object";
      });
      const groupPictures = started.reduce((sum, { turn }) => sum + picturesOf(turn.candidate.task), 0);
      return started.map(({ turn, claim }) => {
        const { generationId: id, leaseId, worker } = claim;
        this.running.set(id, { fence: { generationId: id, leaseId }, turn: { ...turn, groupPictures } });
        return { id, worker, groupPictures };
      });
    });
  }

  private async write(fence: Fence, { outcome, stepsDone, counts }: AttemptEnd): Promise<"written" | "gone"> {
    switch (outcome) {
      case "DONE":
        return this.lifecycle.complete(fence, { images: [], recipe: {}, stepsDone, verdicts: [] });
      case "REFUSED":
        return this.lifecycle.fail(fence, { message: MESSAGE, stepsDone });
      case "CANCELED":
        return this.lifecycle.cancelRunning(fence, { stepsDone });
      case "YIELDED":
        return this.lifecycle.giveBack(fence, { outcome: "YIELDED", stepsDone });
      case "LOST": {
        const lost = { failureClass: "WORKER_LOST", message: MESSAGE, stepsDone } as const;
        const result = await this.lifecycle.retry(fence, { ...lost, hasAdvanced: !counts, hadCompany: false });
        await this.db.transaction(
          asPlatform,
          (tx) => tx.$executeRaw`update generation set not_before = null where id = ${fence.generationId}::uuid`,
        ); // pauses are not in the virtual time
        return result;
      }
    }
  }

  private async stateOf(id: string): Promise<GenerationState> {
    const { state } = await this.db.transaction(asPlatform, (tx) =>
      tx.generation.findUniqueOrThrow({ where: { id }, select: { state: true } }),
    );
    return state;
  }

  private save(): Promise<void> {
    return this.db.transaction(asDispatcher, async (tx) => {
      await this.queued.save(tx);
      await this.queued.keepDurations(tx);
    });
  }
}
