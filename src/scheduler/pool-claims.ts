/** Takes what comes next for workers that are idle: whose turn it is, as the pool's queue has it, as far as limits let it start. */
import { type Claim, type Claimant, claimAll, type StartedRow } from "../generation/claim.store.ts";
import { asDispatcher } from "../platform/access.ts";
import { newId } from "../platform/ids.ts";
import { secondsSince } from "../platform/metrics.ts";
import type { IdleWorker, Slot } from "../pool/worker-pool.ts";
import type { AttemptServices, ClaimedGeneration } from "./attempt.ts";
import { picturesOf } from "./group-filling.ts";
import { type PoolQueue, shareOf, type Turn } from "./pool-queue.ts";

/** Of one claim: where limits refuse what was chosen, others may run in its place. */
const MAX_ROUNDS = 4;

/** Generations that were claimed for one worker, each with its slot. */
export type ClaimedGroup = readonly { readonly claimed: ClaimedGeneration; readonly slot: Slot; readonly turn: Turn }[];

export class PoolClaims {
  constructor(
    private readonly services: Pick<AttemptServices, "db" | "clock" | "metrics">,
    private readonly queue: PoolQueue,
    private readonly claimant: Claimant & { readonly pool: string },
  ) {}

  /** Again for workers that got nothing because limits refused what was chosen for them. What has started runs, whatever comes later. */
  async claim(idle: readonly IdleWorker[], send: (group: ClaimedGroup) => void): Promise<void> {
    const used = new Set<Slot>();
    try {
      let left = idle;
      for (let rounds = 0; left.length > 0 && rounds < MAX_ROUNDS; rounds++) {
        const startedAt = performance.now();
        const groups = await this.queue.orForget(this.claimRound(left));
        this.noteClaims(groups, secondsSince(startedAt));
        for (const group of groups) {
          for (const { slot } of group) used.add(slot);
          send(group);
        }
        if (groups.every(({ length }) => length > 0)) break;
        left = left.filter(({ slots }) => !slots.some((slot) => used.has(slot)));
      }
    } finally {
      for (const { slots } of idle) for (const slot of slots) if (!used.has(slot)) slot.putBack();
    }
  }

  /** Times of generations that start for the first time: what waits again waits for other reasons. */
  private noteClaims(groups: readonly ClaimedGroup[], seconds: number): void {
    const { metrics, clock } = this.services;
    const { pool } = this.claimant;
    const now = clock.now().getTime();
    const members = groups.flat();
    if (members.length > 0) metrics.claimSeconds.observe({ pool }, seconds);
    for (const { claimed, slot, turn } of members) {
      if (claimed.attempt > 1) continue;
      const { priority, createdAt } = turn.candidate;
      const waitedMs = Math.max(0, now - createdAt.getTime()); // clocks may differ a little
      metrics.generationWaitSeconds.observe({ pool, priority }, waitedMs / 1000);
      if (slot.idleSince === undefined) continue;
      metrics.slotWaitSeconds.observe({ pool }, Math.min(waitedMs, clock.elapsedMs() - slot.idleSince) / 1000);
    }
  }

  /** @returns a group for each worker whose turn it is, empty where all of it was refused */
  private async claimRound(idle: readonly IdleWorker[]): Promise<readonly ClaimedGroup[]> {
    const db = this.services.db.singly(asDispatcher);
    const groups = await this.queue.choose(db, idle, this.services.clock.now());
    const asked = groups.map(({ turns, slots }) =>
      turns.flatMap((turn, i) => {
        const slot = slots[i];
        return slot === undefined ? [] : [{ slot, turn, claim: claimOf(turn, slot) }];
      }),
    );
    const claims = asked.flat().map(({ claim }) => claim);
    const outcomes = await claimAll(db, this.claimant, claims);
    if (outcomes === undefined) {
      this.queue.forget();
      return [];
    }
    const outcomeOf = new Map(claims.map((claim, i) => [claim, outcomes[i]]));
    return asked.map((group) => {
      const started = group.flatMap(({ claim, ...member }) => {
        const outcome = outcomeOf.get(claim);
        if (typeof outcome === "object") return [{ ...member, claimed: claimedOf(member.turn, claim, outcome) }];
        this.queue.refused(member.turn, { isHeld: outcome === "LIMITED" });
        return [];
      });
      const groupPictures = started.reduce((sum, { turn }) => sum + picturesOf(turn.candidate.task), 0);
      return started.map(({ turn, ...member }) => ({ ...member, turn: { ...turn, groupPictures } }));
    });
  }
}

function claimOf(turn: Turn, slot: Slot): Claim {
  const { candidate, predictedMs } = turn;
  const share = shareOf(turn);
  return {
    generationId: candidate.id,
    leaseId: newId(),
    worker: slot.worker.worker.name,
    predictedMs: predictedMs / share,
    share,
  };
}

const claimedOf = (
  { candidate: { preset, task } }: Turn,
  { generationId, leaseId }: Claim,
  { tenantId, attempt, milestoneSeq: seq }: StartedRow,
): ClaimedGeneration => ({ generationId, tenantId, leaseId, attempt, seq, preset, task });
