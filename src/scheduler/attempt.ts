/**
 * One attempt: sends a generation to a worker, passes on what the stream says, and writes how it ended. Every write is
 * fenced by the lease, so an attempt that was overtaken changes nothing.
 */

import { FAILURE_RULES } from "../generation/failure-rules.ts";
import type { NewImage } from "../generation/generation.store.ts";
import type { FencedResult, GenerationLifecycle, Retry } from "../generation/generation-lifecycle.ts";
import { type Task, totalStepsOf } from "../generation/settings.ts";
import type { Fence } from "../generation/transition.store.ts";
import type { Moderation, Ruling } from "../moderation/moderation.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import { inSpan, noteOnSpan } from "../platform/tracing.ts";
import { type Recipe, WorkerCallError, type WorkerEvent } from "../pool/worker-call.ts";
import type { Slot, WorkerPool } from "../pool/worker-pool.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS } from "../storage/image-variants.ts";
import { storePicture } from "./attempt-pictures.ts";
import { AttemptProgress, type ProgressServices } from "./attempt-progress.ts";
import { attemptTaskOf, SourceGoneError } from "./attempt-task.ts";
import { AttemptTimes } from "./attempt-times.ts";
import { inAttemptSpan } from "./attempt-trace.ts";
import type { SharedFailure } from "./group-company.ts";
import type { GroupDeparture } from "./group-departure.ts";
import { findCheckpoint, forgetCheckpoints, isCancelRequested, saveCheckpoint } from "./lease.store.ts";

/** What a failure of a worker tells everyone; its own words, which may hold internals, are in the log under the lease. */
const publicMessage = (leaseId: string): string => `The worker failed. The log has the reason under ${leaseId}.`;

/** How a worker can fail an attempt. */
type WorkerFailure = "NOT_TAKEN" | "INTERNAL" | "WORKER_LOST" | "WORKER_STUCK";

const FAILURE_MESSAGES: Readonly<Record<WorkerFailure, (leaseId: string) => string>> = {
  NOT_TAKEN: () => "no worker took it",
  INTERNAL: publicMessage,
  WORKER_LOST: () => "The worker was lost.",
  WORKER_STUCK: () => "The worker gave no sign of life, and is replaced.",
};

export interface AttemptServices extends ProgressServices {
  readonly db: Database;
  readonly lifecycle: GenerationLifecycle;
  readonly images: ImageStore;
  readonly pool: WorkerPool;
  readonly moderation: Moderation;
  readonly logger: Logger;
}

const UNKEPT = "result of an attempt could not be kept";
const UNASKED: Ruling = { verdicts: [], refusal: undefined };

/** A claimed generation. */
export interface ClaimedGeneration {
  readonly generationId: string;
  readonly tenantId: string;
  readonly leaseId: string;
  readonly attempt: number;
  /** `seq` of its Started milestone. */
  readonly seq: number;
  readonly preset: string;
  readonly task: Task;
}

/** Why we hang up. cancel, deadline: as asked. lost: the lease is another's. stuck: no sign of life. stop: we are ending. */
export type HangUp = "cancel" | "deadline" | "lost" | "stuck" | "stop";

export class Attempt {
  readonly progress: AttemptProgress;
  private readonly call = new AbortController();
  private readonly pictures: NewImage[] = [];
  private hangUpReason: HangUp | undefined;
  private recipe: Recipe | undefined;
  /** What the worker sent is being stored: its silence is ours. */
  private isReceiving = false;
  /** The worker is done, and checks look at what it drew. */
  private isJudging = false;
  private isDone = false;
  /** It ends with a checkpoint soon. */
  isAskedToYield = false;
  private readonly times: AttemptTimes;

  readonly claimed: ClaimedGeneration;
  private readonly slot: Slot;
  private readonly departure: GroupDeparture;

  constructor(
    { claimed, slot, departure }: { claimed: ClaimedGeneration; slot: Slot; departure: GroupDeparture },
    private readonly services: AttemptServices,
  ) {
    this.claimed = claimed;
    this.slot = slot;
    this.departure = departure;
    this.progress = new AttemptProgress({ ...claimed, worker: slot.worker.worker.name }, services);
    this.times = new AttemptTimes(services.clock, slot.standbyMs);
  }

  /** Resolves when the attempt is over and written; never rejects. */
  run(): Promise<void> {
    return inAttemptSpan(this.services, this.claimed, () => this.runToEnd());
  }

  private async runToEnd(): Promise<void> {
    const { logger, db } = this.services;
    const { generationId, leaseId, attempt, tenantId } = this.claimed;
    const { name: worker } = this.slot.worker.worker;
    const facts = { generationId, tenantId, attempt, leaseId, worker, group: this.departure.id };
    logger.info(facts, "attempt started");
    try {
      const result = await this.runCall().catch((error) => this.writeFailure(error));
      logger.info({ ...facts, result, stepsDone: this.progress.stepsDone }, "attempt ended");
    } catch (error) {
      // The lease runs out, and the rescuer queues the generation again.
      logger.error({ ...facts, err: error }, "end of an attempt could not be written");
    } finally {
      this.departure.company.leave(generationId);
      this.releaseSlot();
      db.doorbell.ring();
    }
  }

  /** It has run from its first step to its last. */
  get isWhole(): boolean {
    return this.isDone && this.progress.firstStep === 0;
  }

  /** Milliseconds for which it held, or has held, its worker. */
  get heldMs(): number {
    return this.times.heldMs;
  }

  /** It was sent ahead, and has not begun. */
  get isOnStandby(): boolean {
    return this.times.isOnStandby;
  }

  /** The worker that it holds a slot of; none once it gave that back. */
  get worker(): string | undefined {
    return this.times.hasEnded ? undefined : this.slot.worker.worker.name;
  }

  /** At most, as far as the worker has said. */
  get stepsLeft(): number {
    return this.progress.stepsLeft ?? totalStepsOf(this.claimed.task) - this.progress.stepsDone;
  }

  get isSilent(): boolean {
    return !this.isReceiving && !this.isOnStandby && this.progress.isSilent;
  }

  /** Gives its place on standby back when it waits there for much longer than was expected. */
  async leaveStandbyIfOverdue(): Promise<void> {
    if (!this.times.isOverdue || this.isAskedToYield) return;
    this.slot.expire();
    await this.requestYield();
  }

  hangUp(reason: HangUp): void {
    this.hangUpReason ??= reason;
    this.call.abort();
  }

  /** Asks the worker to stop with a checkpoint; hangs up when it cannot be reached, or has nothing more to do with it. */
  async requestYield(): Promise<void> {
    this.isAskedToYield = true;
    if (this.isJudging) this.hangUp("stop");
    else await this.slot.worker.requestYield(this.claimed.leaseId).catch(() => this.hangUp("stop"));
  }

  private async runCall(): Promise<FencedResult> {
    const { leaseId, preset, generationId, tenantId, task } = this.claimed;
    const prepare = async () => {
      if (task.kind !== "IMAGE_TO_TEXT") await this.services.images.checkWritable();
      this.progress.withholdsPreviews = await this.services.moderation.mayBlockPictures(tenantId);
      const resumeFrom = await this.services.db.transaction(asDispatcher, (tx) => findCheckpoint(tx, generationId));
      const attemptTask = await attemptTaskOf(task, this.services.images);
      this.departure.company.enter(generationId);
      return { resumeFrom, task: attemptTask };
    };
    const { prepared, group } = await this.departure.prepare(() => inSpan("prepare attempt", {}, prepare));
    noteOnSpan({ "atelier.group.id": group.id, "atelier.group.size": group.size });
    this.progress.resumeFrom(prepared.resumeFrom?.stepsDone ?? 0);
    const standby = this.slot.standbyMs !== undefined;
    const request = { leaseId, preset, group: { ...group, standby }, ...prepared };
    this.slot.send();
    for await (const event of this.slot.worker.generate(request, this.call.signal)) {
      this.isReceiving = true;
      const result = await this.receive(event);
      this.isReceiving = false;
      this.progress.noteSign();
      if (result !== undefined) return result;
    }
    throw new Error("unreachable: a stream ends with done or yielded");
  }

  /** The result, when the event was the last one. */
  private async receive(event: WorkerEvent): Promise<FencedResult | undefined> {
    const { lifecycle, db, pool } = this.services;
    const { leaseId, generationId } = this.claimed;
    switch (event.kind) {
      case "started":
        this.times.begin();
        this.slot.begin();
        this.recipe = event.recipe;
        this.progress.start(event);
        this.foretellEnd();
        return undefined;
      case "frame":
        this.progress.publish(event);
        this.foretellEnd();
        return undefined;
      case "checkpoint":
        if (!(await db.transaction(asDispatcher, (tx) => saveCheckpoint(tx, leaseId, event.checkpoint))))
          this.hangUp("lost");
        this.progress.save(event.checkpoint.stepsDone);
        return undefined;
      case "image":
        this.pictures.push(await storePicture(this.services.images, this.folder, event));
        return undefined;
      case "text":
        this.progress.publishText(event.text);
        return undefined;
      case "yielded":
        return lifecycle.giveBack(this.fence, {
          ...(this.progress.hasStarted
            ? { outcome: "YIELDED", message: "yielded" }
            : { outcome: "RETURNED", message: "gave its place on standby back" }),
          stepsDone: this.progress.stepsDone,
        });
      case "done":
        this.isDone = true;
        this.services.metrics.notePrompts(this.claimed.preset, event.prompts);
        this.departure.company.leave(generationId);
        pool.succeeded(this.slot.worker.worker.name);
        return this.finish();
    }
  }

  /** Writes the end of what the worker has finished, once checks have looked at it. */
  private async finish(): Promise<FencedResult> {
    const { lifecycle, images } = this.services;
    const { task } = this.claimed;
    invariant(this.recipe !== undefined, "a worker was done before it started");
    const { verdicts, refusal } = await this.judgePictures();
    // An answer costs the tokens that it has; pictures cost what was asked for.
    const stepsDone = task.kind === "IMAGE_TO_TEXT" ? this.progress.stepsDone : totalStepsOf(task);
    if (refusal?.code === "CONTENT_BLOCKED") {
      await images.deleteFolder(this.folder); // before anybody is told that they were there
      return lifecycle.refusePictures(this.fence, { message: refusal.message, stepsDone, verdicts });
    }
    if (refusal !== undefined) return this.retry("MODERATION_UNAVAILABLE", refusal.message);
    const answer = task.kind === "IMAGE_TO_TEXT" ? { answer: this.progress.answer } : {};
    return lifecycle.complete(this.fence, {
      images: this.pictures,
      recipe: this.recipe,
      stepsDone,
      ...answer,
      verdicts,
    });
  }

  private foretellEnd(): void {
    const { leftMs, isInLastStep } = this.progress;
    if (isInLastStep || leftMs !== undefined) this.slot.expectEnd(leftMs ?? 0, { isInLastStep });
  }

  private releaseSlot(): void {
    this.times.end();
    this.slot.release();
  }

  /** Of its pictures. */
  private get folder(): string {
    const { tenantId, generationId, leaseId } = this.claimed;
    return `${tenantId}/${generationId}/${leaseId}`;
  }

  /** Under which its end is written. */
  private get fence(): Fence {
    return { ...this.claimed, standbyMs: this.times.standbyMs };
  }

  /** Meanwhile the worker has nothing more to do with it, so its slot is free for others. */
  private async judgePictures(): Promise<Ruling> {
    const { moderation, images } = this.services;
    const { tenantId, generationId } = this.claimed;
    const pictures = this.pictures.map(({ storageKey, ...picture }) => ({
      ...picture,
      load: async () => {
        const bytes = await images.get(`${storageKey}/${IMAGE_VARIANTS.ORIGINAL}`);
        invariant(bytes !== undefined, "a picture that was stored is there");
        return bytes;
      },
    }));
    if (pictures.length === 0 || !(await moderation.applies(tenantId, "IMAGE"))) return UNASKED;
    this.isJudging = true;
    this.releaseSlot();
    return inSpan("judge pictures", {}, () =>
      moderation.judgePictures({ tenantId, generationId, pictures }, this.call.signal),
    );
  }

  private async writeFailure(error: unknown): Promise<FencedResult> {
    const { lifecycle, db } = this.services;
    const { stepsDone } = this.progress;
    const { claimed, fence } = this;
    if (this.hangUpReason === "lost") return "gone";
    if (await db.transaction(asDispatcher, (tx) => isCancelRequested(tx, claimed.generationId)))
      return lifecycle.cancelRunning(fence, { stepsDone });
    if (this.hangUpReason === "deadline") {
      const failure = { code: "DEADLINE", message: "The deadline passed while it was running." };
      return lifecycle.cancelRunning(fence, { stepsDone, failure });
    }
    if (this.hangUpReason === "stop") {
      return lifecycle.giveBack(fence, { outcome: "YIELDED", message: "the server stopped", stepsDone });
    }
    if (error instanceof SourceGoneError) return lifecycle.fail(fence, { message: error.message, stepsDone });
    return error instanceof WorkerCallError ? this.writeWorkerFailure(error) : this.writeOwnFailure(error);
  }

  private async writeWorkerFailure(error: WorkerCallError): Promise<FencedResult> {
    const { pool, logger } = this.services;
    const { leaseId, generationId, attempt } = this.claimed;
    const { reason } = error;
    const worker = this.slot.worker.worker.name;
    const facts = { generationId, attempt, leaseId, worker, reason, err: error };
    if (reason === "invalid") {
      logger.warn(facts, "attempt failed");
      return this.refuse(error);
    }
    const failureClass = this.classOf(error);
    const message = FAILURE_MESSAGES[failureClass](leaseId);
    // What is on standby when its worker dies had no part in that, nor what only had to be handed over.
    const isBystander = reason === "lost" && (this.isOnStandby || this.slot.isOvertaken);
    if (failureClass === "NOT_TAKEN" && (reason === "busy" || isBystander)) {
      logger.warn({ ...facts, failureClass }, "attempt failed");
      if (reason === "busy") pool.refused(worker);
      return this.retry(failureClass, message, { hadCompany: true });
    }
    if (isBystander) {
      logger.warn({ ...facts, failureClass }, "attempt failed");
      return this.retry(failureClass, message, { hadCompany: true });
    }
    const failure = this.departure.company.failed(generationId);
    const { suspects, suspicion } = failure;
    logger.warn({ ...facts, failureClass, suspects: suspects.length, suspicion }, "attempt failed");
    const rule = FAILURE_RULES[failureClass];
    if (rule.worker === "STUCK") pool.stuck(worker);
    else if (!failure.isKnown) pool.failed(worker, { suspects, isFaulty: rule.worker === "FAULTY" });
    return this.retry(failureClass, message, rule.isShared ? failure : undefined);
  }

  private classOf({ reason }: WorkerCallError): WorkerFailure {
    if (this.hangUpReason === "stuck") return "WORKER_STUCK";
    if (!this.progress.hasStarted) return "NOT_TAKEN";
    return reason === "internal" ? "INTERNAL" : "WORKER_LOST";
  }

  private retry(
    failureClass: Retry["failureClass"],
    message: string,
    shared?: Partial<SharedFailure>,
  ): Promise<FencedResult> {
    const { stepsDone, hasAdvanced } = this.progress;
    const { hadCompany = false, suspicion } = shared ?? {};
    const failed = { failureClass, message, stepsDone, hasAdvanced, hadCompany, suspicion };
    return this.services.lifecycle.retry(this.fence, failed);
  }

  /** This server could not keep what the worker sent: neither the generation nor the worker is to blame. */
  private async writeOwnFailure(error: unknown): Promise<FencedResult> {
    const { generationId, attempt, leaseId } = this.claimed;
    const facts = { generationId, attempt, leaseId };
    const hasBeenTold = error instanceof DomainError && error.code === "UNAVAILABLE"; // by what failed, with its reason
    if (hasBeenTold) this.services.logger.warn({ ...facts, reason: error.message }, UNKEPT);
    else this.services.logger.error({ ...facts, err: error }, UNKEPT);
    return this.retry("SERVER", "The server could not store its result. It tries again by itself; nothing is lost.");
  }

  /** The model refuses the request; or only the checkpoint, of an older build: then it starts anew. */
  private async refuse(error: WorkerCallError): Promise<FencedResult> {
    const { lifecycle, db } = this.services;
    const { generationId } = this.claimed;
    const hadCheckpoint = await db.transaction(asDispatcher, async (tx) => {
      const checkpoint = await findCheckpoint(tx, generationId);
      if (checkpoint !== undefined) await forgetCheckpoints(tx, generationId);
      return checkpoint !== undefined;
    });
    const { stepsDone } = this.progress;
    if (!hadCheckpoint) return lifecycle.fail(this.fence, { message: error.message, stepsDone });
    this.progress.resumeFrom(0);
    return this.retry("STALE_CHECKPOINT", "started anew: its checkpoint is of another build");
  }
}
