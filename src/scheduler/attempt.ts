/**
 * One attempt: sends a generation to a worker, passes on what the stream says, and writes how it ended. Every write is
 * fenced by the lease, so an attempt that was overtaken changes nothing.
 */

import { createHash } from "node:crypto";
import type { NewImage } from "../generation/generation.store.ts";
import type { FencedResult, GenerationLifecycle } from "../generation/generation-lifecycle.ts";
import { type Task, totalStepsOf } from "../generation/settings.ts";
import type { Fence } from "../generation/transition.store.ts";
import type { Moderation, Ruling } from "../moderation/moderation.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import { invariant } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import { type Recipe, WorkerCallError, type WorkerEvent } from "../pool/worker-call.ts";
import type { Slot, WorkerPool } from "../pool/worker-pool.ts";
import type { FrameBus } from "../progress/frame-bus.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS, type ImageVariant, variantsOf } from "../storage/image-variants.ts";
import { AttemptProgress } from "./attempt-progress.ts";
import { attemptTaskOf, SourceGoneError } from "./attempt-task.ts";
import { AttemptTimes } from "./attempt-times.ts";
import type { GroupDeparture } from "./group-departure.ts";
import { findCheckpoint, forgetCheckpoints, isCancelRequested, saveCheckpoint } from "./lease.store.ts";

/** Before another attempt after checks of pictures could not be asked. */
const UNJUDGED_DELAY_MS = 30_000;
/** What a failure of a worker tells everyone; its own words, which may hold internals, are in the log under the lease. */
const publicMessage = (leaseId: string): string => `The worker failed. The log has the reason under ${leaseId}.`;
/** Before another attempt after one that failed. */
const RETRY_DELAY_MS = 500;
/** Before a generation goes to the next worker after one that did not take it. */
const RETURN_DELAY_MS = 200;
/** Before another attempt after this server could not keep what a worker sent: a full disk does not get better at once. */
const OWN_FAILURE_DELAY_MS = 10_000;

export interface AttemptServices {
  readonly db: Database;
  readonly lifecycle: GenerationLifecycle;
  readonly bus: FrameBus;
  readonly images: ImageStore;
  readonly pool: WorkerPool;
  readonly moderation: Moderation;
  readonly clock: Clock;
  readonly logger: Logger;
}

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
    this.progress = new AttemptProgress(claimed, services.bus, services.clock);
    this.times = new AttemptTimes(services.clock, slot.standbyMs);
  }

  /** Resolves when the attempt is over and written; never rejects. */
  async run(): Promise<void> {
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
    const { prepared, group } = await this.departure.prepare(async () => {
      this.progress.withholdsPreviews = await this.services.moderation.mayBlockPictures(tenantId);
      const resumeFrom = await this.services.db.transaction(asDispatcher, (tx) => findCheckpoint(tx, generationId));
      return { resumeFrom, task: await attemptTaskOf(task, this.services.images) };
    });
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
    const { lifecycle, db } = this.services;
    const { leaseId } = this.claimed;
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
        this.pictures.push(await this.store(event));
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
        return this.finish();
    }
  }

  /** Writes the end of what the worker has finished, once checks have looked at it. */
  private async finish(): Promise<FencedResult> {
    const { lifecycle, images } = this.services;
    const { tenantId, generationId, leaseId, task } = this.claimed;
    invariant(this.recipe !== undefined, "a worker was done before it started");
    const { verdicts, refusal } = await this.judgePictures();
    // An answer costs the tokens that it has; pictures cost what was asked for.
    const stepsDone = task.kind === "IMAGE_TO_TEXT" ? this.progress.stepsDone : totalStepsOf(task);
    if (refusal?.code === "CONTENT_BLOCKED") {
      await images.deleteFolder(`${tenantId}/${generationId}/${leaseId}`); // before anybody is told that they were there
      const { code, message } = refusal;
      return lifecycle.refusePictures(this.fence, { failure: { code, message }, stepsDone, verdicts });
    }
    if (refusal !== undefined) {
      const failure = { code: "MODERATION_UNAVAILABLE", message: refusal.message };
      return lifecycle.retry(this.fence, failure, { stepsDone, delayMs: UNJUDGED_DELAY_MS, counts: true });
    }
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
    return moderation.judgePictures({ tenantId, generationId, pictures }, this.call.signal);
  }

  /** Stores a picture in all its forms; it becomes visible with the completion. */
  private async store({
    index,
    width,
    height,
    mimeType,
    bytes,
  }: Extract<WorkerEvent, { kind: "image" }>): Promise<NewImage> {
    const { tenantId, generationId, leaseId } = this.claimed;
    const storageKey = `${tenantId}/${generationId}/${leaseId}/${index}`;
    const variants = await variantsOf(bytes).catch((cause) => {
      throw new WorkerCallError("internal", "The worker sent a picture that cannot be read.", { cause });
    });
    for (const [variant, content] of Object.entries(variants)) {
      await this.services.images.put(`${storageKey}/${IMAGE_VARIANTS[variant as ImageVariant]}`, content);
    }
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { index, storageKey, width, height, mimeType, sizeBytes: bytes.length, sha256 };
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
    if (error instanceof SourceGoneError)
      return lifecycle.fail(fence, { code: "INVALID_INPUT", message: error.message }, stepsDone);
    return error instanceof WorkerCallError ? this.writeWorkerFailure(error) : this.writeOwnFailure(error);
  }

  private async writeWorkerFailure(error: WorkerCallError): Promise<FencedResult> {
    const { lifecycle, pool, logger } = this.services;
    const { stepsDone, hasStarted, hasAdvanced } = this.progress;
    const { fence, isOnStandby } = this;
    const { leaseId, generationId, attempt } = this.claimed;
    const worker = this.slot.worker.worker.name;
    logger.warn({ generationId, attempt, leaseId, worker, reason: error.reason, err: error }, "attempt failed");
    if (error.reason === "invalid") return this.refuse(error);
    if (this.hangUpReason === "stuck") pool.quarantine(worker, { isStuck: true });
    else if (!hasStarted) {
      // What is on standby when its worker dies had no part in that.
      if (error.reason === "busy") pool.refused(worker);
      else if (!(isOnStandby && error.reason === "lost")) pool.quarantine(worker, { isStuck: false });
      return lifecycle.giveBack(
        fence,
        { outcome: "RETURNED", message: "no worker took it", stepsDone },
        RETURN_DELAY_MS,
      );
    }
    const end = { stepsDone, delayMs: RETRY_DELAY_MS };
    if (error.reason === "internal")
      return lifecycle.retry(fence, { code: "INTERNAL", message: publicMessage(leaseId) }, { ...end, counts: true });
    // A generation that got further is not to blame for the loss, however often it happens.
    const failure = { code: "WORKER_LOST", message: "The worker was lost." };
    return lifecycle.retry(fence, failure, { ...end, counts: !hasAdvanced });
  }

  /** This server could not keep what the worker sent: neither the generation nor the worker is to blame. */
  private async writeOwnFailure(error: unknown): Promise<FencedResult> {
    const { lifecycle, logger } = this.services;
    const { generationId, attempt, leaseId } = this.claimed;
    logger.error({ generationId, attempt, leaseId, err: error }, "result of an attempt could not be kept");
    return lifecycle.giveBack(
      this.fence,
      { outcome: "RETURNED", message: "the server could not keep its result", stepsDone: this.progress.stepsDone },
      OWN_FAILURE_DELAY_MS,
    );
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
    if (!hadCheckpoint)
      return lifecycle.fail(this.fence, { code: "INVALID_INPUT", message: error.message }, this.progress.stepsDone);
    return lifecycle.giveBack(this.fence, {
      outcome: "RETURNED",
      message: "started anew: its checkpoint is of another build",
      stepsDone: 0,
    });
  }
}
