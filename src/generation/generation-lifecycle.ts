/**
 * The ends of attempts and generations. Each is one transaction: the transition, then the batch that counts it as an item,
 * then the credits; the limit row is locked last. After the commit the milestone is announced, and the doorbell rings when
 * there is something to claim.
 */

import type { FailureClass, GenerationState } from "../generated/prisma/enums.ts";
import { insertVerdicts, type Verdict } from "../moderation/verdict.store.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { inSpan, noteOnSpan } from "../platform/tracing.ts";
import type { BusMessage } from "../progress/frame.ts";
import type { FrameBus } from "../progress/frame-bus.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { effortOf, pixelsOf } from "../quota/tariff.ts";
import { noteItemEnds } from "./batch.store.ts";
import { FAILURE_RULES, type FailedAttempt, judgeFailure } from "./failure-rules.ts";
import { isTerminal } from "./generation.state.ts";
import { findForSettlement, insertImages, lockGeneration, type NewImage, requestCancel } from "./generation.store.ts";
import { parseTask, workOf } from "./settings.ts";
import {
  type AttemptEnd,
  countFailures,
  type Failure,
  type Fence,
  finishQueued,
  finishRunning,
  type Requeue,
  requeue,
  type TransitionedRow,
} from "./transition.store.ts";

export interface Completion {
  readonly images: readonly NewImage[];
  readonly recipe: object;
  /** Charged: MAR steps, or tokens of the answer. */
  readonly stepsDone: number;
  /** Of a question. */
  readonly answer?: string;
  /** Of the checks that let its pictures pass. */
  readonly verdicts: readonly Verdict[];
}

/** Pictures that a check refuses. */
export interface Refusal {
  readonly message: string;
  readonly stepsDone: number;
  readonly verdicts: readonly Verdict[];
}

/** An attempt after which another one may succeed. */
export interface Retry extends Omit<FailedAttempt, "key"> {
  /** For everyone to read. */
  readonly message: string;
  readonly stepsDone: number;
  /** Of generations that are suspected together from now on; null of one alone; as it was unless given. */
  readonly suspicion?: string | null | undefined;
}

/** It was queued and has ended, or it runs and was asked to stop. */
export type Cancellation = { readonly ended: TransitionedRow } | { readonly isRequested: true };

/** What became of a fenced write. `gone`: the lease is another's by now, and nothing was written. */
export type FencedResult = "written" | "gone";

/** Who counts what ends, each once, after the commit. */
export interface EndObserver {
  generationEnded(state: GenerationState): void;
  attemptEnded(attempt: Pick<AttemptEnd, "outcome" | "failureClass">): void;
}

export class GenerationLifecycle {
  private observer: EndObserver | undefined;

  constructor(
    private readonly db: Database,
    private readonly quota: QuotaService,
    private readonly bus: FrameBus,
  ) {}

  observe(observer: EndObserver): void {
    this.observer = observer;
  }

  /** RUNNING -> SUCCEEDED: its pictures or its answer become visible, and what was done is charged. */
  complete(fence: Fence, { images, recipe, stepsDone, answer, verdicts }: Completion): Promise<FencedResult> {
    const attempt: AttemptEnd = { outcome: "SUCCEEDED", stepsDone };
    return this.endRunning(fence, attempt, async (tx) => {
      const storedBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const row = await finishRunning(tx, fence, { state: "SUCCEEDED", attempt, recipe, answer, storedBytes });
      if (row === undefined) return undefined;
      await insertImages(tx, row, images);
      await noteVerdicts(tx, row, verdicts);
      await this.charge(tx, row, { stepsDone, reason: "generation succeeded" });
      return row;
    });
  }

  /** RUNNING -> FAILED: the input or the model refuses, and would again. Free. */
  fail(fence: Fence, { message, stepsDone }: { message: string; stepsDone: number }): Promise<FencedResult> {
    const attempt = failedAttempt("INVALID_INPUT", { message, stepsDone });
    return this.endRunning(fence, attempt, async (tx) => {
      const row = await finishRunning(tx, fence, { state: "FAILED", attempt, failure: failureOf(attempt) });
      if (row !== undefined) await this.charge(tx, row, { stepsDone: 0, reason: "generation failed" });
      return row;
    });
  }

  /** RUNNING -> FAILED: a check refuses a picture. What was drawn is charged, for it was drawn. */
  refusePictures(fence: Fence, { message, stepsDone, verdicts }: Refusal): Promise<FencedResult> {
    const attempt = failedAttempt("CONTENT_BLOCKED", { message, stepsDone });
    return this.endRunning(fence, attempt, async (tx) => {
      const row = await finishRunning(tx, fence, { state: "FAILED", attempt, failure: failureOf(attempt) });
      if (row === undefined) return undefined;
      await noteVerdicts(tx, row, verdicts);
      await this.charge(tx, row, { stepsDone, reason: "picture refused" });
      return row;
    });
  }

  /** RUNNING -> CANCELED, on request or at its deadline: the steps done are charged. */
  cancelRunning(fence: Fence, { stepsDone, failure }: { stepsDone: number; failure?: Failure }): Promise<FencedResult> {
    return this.endRunning(fence, { outcome: "CANCELED", stepsDone }, (tx) =>
      this.cancelIn(tx, fence, { stepsDone, failure }),
    );
  }

  /** RUNNING -> QUEUED without a failure: the attempt yielded, or its place on standby was given back. CANCELED instead when that was asked for. */
  giveBack(fence: Fence, attempt: AttemptEnd): Promise<FencedResult> {
    return this.endRunning(fence, attempt, (tx) =>
      this.requeueOrCancel(tx, fence, { attempt, counts: false, delayMs: 0 }),
    );
  }

  /**
   * RUNNING -> QUEUED for another attempt, as failure-rules.ts has it, or DEAD_LETTERED (free) when too many have failed.
   * CANCELED instead when that was asked for.
   */
  retry(fence: Fence, { failureClass, message, stepsDone, suspicion, ...failed }: Retry): Promise<FencedResult> {
    const attempt = failedAttempt(failureClass, { message, stepsDone });
    return this.endRunning(fence, attempt, async (tx) => {
      const counted = (await findForSettlement(tx, fence.generationId))?.failedAttempts ?? 0;
      const past = { counted, byClass: await countFailures(tx, fence.generationId) };
      const key = suspicion ?? fence.leaseId;
      const { counts, isLast, pauseMs } = judgeFailure({ ...failed, failureClass, key }, past);
      if (!isLast) return this.requeueOrCancel(tx, fence, { attempt, counts, delayMs: pauseMs, suspicion });
      const end = { state: "DEAD_LETTERED", attempt, failure: failureOf(attempt) } as const;
      const row = await finishRunning(tx, fence, end);
      if (row !== undefined) await this.charge(tx, row, { stepsDone: 0, reason: "generation dead-lettered" });
      return row;
    });
  }

  /** QUEUED -> CANCELED or EXPIRED, free. False when it was not queued any more. The caller announces after its commit. */
  async endQueued(
    tx: Tx,
    generationId: string,
    end: { state: "CANCELED" | "EXPIRED"; failure?: Failure },
  ): Promise<TransitionedRow | undefined> {
    await lockGeneration(tx, generationId);
    const row = await finishQueued(tx, generationId, end);
    if (row !== undefined)
      await this.charge(tx, row, { stepsDone: 0, reason: `generation ${end.state.toLowerCase()} before its start` });
    return row;
  }

  /** Ends a queued generation now, free; asks a running one to stop. Undefined when it has ended. The caller announces. */
  async cancel(tx: Tx, generationId: string): Promise<Cancellation | undefined> {
    const ended = await this.endQueued(tx, generationId, { state: "CANCELED" });
    if (ended !== undefined) return { ended };
    return (await requestCancel(tx, generationId)) ? { isRequested: true } : undefined;
  }

  announceCancellation(cancellation: Cancellation | undefined): void {
    if (cancellation === undefined) return;
    if ("ended" in cancellation) this.announce(cancellation.ended);
    else this.db.doorbell.ring();
  }

  /** Tells who watches that a milestone was committed, and whoever claims that something is queued or to be cancelled. */
  announce({ id, milestoneSeq, state }: Pick<TransitionedRow, "id" | "milestoneSeq" | "state">): void {
    this.bus.publish({ kind: "milestone", generationId: id, seq: milestoneSeq } satisfies BusMessage);
    if (isTerminal(state)) this.observer?.generationEnded(state);
    if (state === "QUEUED") this.db.doorbell.ring();
  }

  /** The request to cancel decides, however the attempt ended. */
  private async requeueOrCancel(tx: Tx, fence: Fence, end: Requeue): Promise<TransitionedRow | undefined> {
    const { stepsDone } = end.attempt;
    return (await requeue(tx, fence, end)) ?? (await this.cancelIn(tx, fence, { stepsDone }));
  }

  private async cancelIn(
    tx: Tx,
    fence: Fence,
    { stepsDone, failure }: { stepsDone: number; failure?: Failure | undefined },
  ): Promise<TransitionedRow | undefined> {
    const attempt: AttemptEnd = { outcome: "CANCELED", message: failure?.message, stepsDone };
    const row = await finishRunning(tx, fence, { state: "CANCELED", attempt, failure });
    if (row !== undefined) await this.charge(tx, row, { stepsDone, reason: "generation canceled while running" });
    return row;
  }

  private async endRunning(
    fence: Fence,
    attempt: AttemptEnd,
    write: (tx: Tx) => Promise<TransitionedRow | undefined>,
  ): Promise<FencedResult> {
    const row = await inSpan("write end of attempt", {}, async (span) => {
      const written = await this.db.transaction(asDispatcher, async (tx) => {
        await lockGeneration(tx, fence.generationId);
        return write(tx);
      });
      if (written === undefined) return undefined;
      span.setAttributes({ "atelier.generation.state": written.state, "atelier.milestone.seq": written.milestoneSeq });
      return written;
    });
    if (row !== undefined) {
      const ended = row.state === "CANCELED" ? { outcome: row.state } : attempt;
      this.observer?.attemptEnded(ended);
      noteOnSpan(
        { "atelier.attempt.outcome": ended.outcome, "atelier.attempt.steps": attempt.stepsDone },
        "failureClass" in ended ? ended.failureClass : undefined,
      );
      this.announce(row);
      return "written";
    }
    // A commit whose answer got lost: the same lease in a terminal state was us.
    const found = await this.db.transaction(asDispatcher, (tx) => findForSettlement(tx, fence.generationId));
    return found?.leaseId === fence.leaseId && found.isTerminal ? "written" : "gone";
  }

  /** What follows from an end: its batch counts it, and its credits are settled; the limit row is locked last. */
  private async charge(
    tx: Tx,
    row: TransitionedRow,
    { stepsDone, reason }: { stepsDone: number; reason: string },
  ): Promise<void> {
    if (row.batchId !== null) await noteItemEnds(tx, row.batchId, row.state, 1);
    const work = workOf(parseTask(row));
    const hasSucceeded = row.state === "SUCCEEDED";
    await this.quota.settle(tx, row.id, {
      done: effortOf(work, stepsDone),
      whole: effortOf(work),
      reason,
      work: { task: row.task, hasSucceeded, pixels: hasSucceeded ? pixelsOf(work) : 0n },
    });
  }
}

/** An attempt that failed as the rules call it. */
const failedAttempt = (
  failureClass: FailureClass,
  { message, stepsDone }: { message: string; stepsDone: number },
): Required<AttemptEnd> & { readonly message: string } => ({
  outcome: FAILURE_RULES[failureClass].outcome,
  failureClass,
  message,
  stepsDone,
});

const failureOf = ({ failureClass: code, message }: { failureClass: FailureClass; message: string }): Failure => ({
  code,
  message,
});

const noteVerdicts = (
  tx: Tx,
  { id: generationId, tenantId, userId }: TransitionedRow,
  verdicts: readonly Verdict[],
): Promise<void> => insertVerdicts(tx, [{ tenantId, userId, generationId, verdicts }]);
