/**
 * The life of one generation as a stream, in three phases: subscribe to the bus, so that nothing is missed from here on;
 * send the milestones after `afterSeq` from the database and the newest frames; then go on live until Finished.
 *
 * Milestones come from the database only, in order, each once. Frames are hints: the newest of each slot is sent, and
 * none that is older than what was sent before. A lost announcement is found by the poll within a second.
 */

import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { Frame, TextFrame } from "../progress/frame.ts";
import type { FrameBus } from "../progress/frame-bus.ts";
import type {
  AttemptFailedEvent,
  FinishedEvent,
  PreviewEvent,
  ProgressEvent,
  QueuedEvent,
  StartedEvent,
  TextDeltaEvent,
} from "./event.type.ts";
import { EventMailbox } from "./event-mailbox.ts";
import { toGeneration } from "./generation.mapper.ts";
import type { GenerationService } from "./generation.service.ts";
import { isTerminal } from "./generation.state.ts";
import { getGeneration } from "./generation.store.ts";
import { listMilestones, type Milestone } from "./milestone.store.ts";
import type { MilestonePoll, WatchedGeneration } from "./milestone-poll.ts";
import { stoppable } from "./stoppable.ts";

export interface EventServices {
  readonly db: Database;
  readonly bus: FrameBus;
  readonly poll: MilestonePoll;
  readonly generations: GenerationService;
  readonly metrics: Metrics;
}

export type AnyGenerationEvent =
  | QueuedEvent
  | StartedEvent
  | AttemptFailedEvent
  | FinishedEvent
  | ProgressEvent
  | PreviewEvent
  | TextDeltaEvent;

export class GenerationEvents {
  constructor(private readonly services: EventServices) {}

  /** Checks the rights and the cursor first: a refusal comes before the first event. */
  async subscribe(
    principal: Principal,
    { id: globalId, afterSeq }: { id: string; afterSeq: number },
  ): Promise<AsyncIterableIterator<AnyGenerationEvent>> {
    const { db, generations } = this.services;
    const { id, milestoneSeq, state } = await db.transaction(asTenant(principal.tenantId), (tx) =>
      generations.getReadable(tx, principal, globalId),
    );
    if (afterSeq < 0 || afterSeq > milestoneSeq) {
      throw new DomainError(
        "INVALID_INPUT",
        `afterSeq is ${afterSeq}; this generation has milestones 1 to ${milestoneSeq}. Use the seq of an event you received, or 0.`,
        { path: ["afterSeq"] },
      );
    }
    // Who has had everything gets the end once more, instead of waiting for what never comes.
    const from = isTerminal(state) ? Math.min(afterSeq, milestoneSeq - 1) : afterSeq;
    return stoppable((signal) => this.events({ id, tenantId: principal.tenantId }, from, signal));
  }

  private async *events(
    watched: WatchedGeneration,
    afterSeq: number,
    signal: AbortSignal,
  ): AsyncGenerator<AnyGenerationEvent> {
    const { bus, poll, metrics } = this.services;
    const { id } = watched;
    const mailbox = new EventMailbox(() => metrics.framesDropped.inc({ at: "subscriber" }));
    signal.addEventListener("abort", () => mailbox.close());
    const leaveBus = await bus.subscribe(id, (message) => mailbox.receive(message));
    const leavePoll = poll.watch(watched, (seq) => mailbox.noteSeq(seq));
    metrics.subscriptionsOpen.inc();
    try {
      let sentSeq = afterSeq;
      const answer = new SentAnswer();
      for (const frame of await bus.newest(id)) mailbox.receive(frame);
      for (let isFirst = true; !signal.aborted; isFirst = false) {
        const milestones = isFirst || mailbox.hasMilestoneAfter(sentSeq) ? await this.milestones(watched, sentSeq) : [];
        for (const milestone of milestones) {
          yield await this.milestoneEvent(milestone);
          sentSeq = milestone.seq;
          if (milestone.kind === "FINISHED") return;
        }
        for (const frame of mailbox.takeFrames(sentSeq)) {
          yield frameEvent(frame, answer);
          metrics.framesSent.inc();
        }
        await mailbox.wait(sentSeq);
      }
    } finally {
      metrics.subscriptionsOpen.dec();
      leaveBus();
      leavePoll();
    }
  }

  private milestones({ id, tenantId }: WatchedGeneration, afterSeq: number): Promise<readonly Milestone[]> {
    return this.services.db.transaction(asTenant(tenantId), (tx) => listMilestones(tx, id, afterSeq));
  }

  private async milestoneEvent({
    kind,
    generationId,
    tenantId,
    seq,
    at,
    attempt,
    ...milestone
  }: Milestone): Promise<AnyGenerationEvent> {
    const base = { seq, at, attempt, generationId: toGlobalId("Generation", generationId) };
    switch (kind) {
      case "QUEUED":
        return { __typename: "QueuedEvent", ...base, message: milestone.message };
      case "STARTED":
        return { __typename: "StartedEvent", ...base };
      case "ATTEMPT_FAILED":
        return {
          __typename: "AttemptFailedEvent",
          ...base,
          failure: { code: milestone.failureCode ?? "", message: milestone.message ?? "" },
          willRetry: milestone.willRetry,
        };
      case "FINISHED": {
        const row = await this.services.db.transaction(asTenant(tenantId), (tx) => getGeneration(tx, generationId));
        const generation = toGeneration(row);
        return {
          __typename: "FinishedEvent",
          ...base,
          state: milestone.state,
          failure: generation.failure,
          generation,
        };
      }
    }
  }
}

/** How much of an answer a subscriber has: frames hold all of it, events only what is new. */
class SentAnswer {
  private attempt = 0;
  private length = 0;

  next({ attempt, text }: TextFrame): { offset: number; text: string } {
    if (attempt !== this.attempt) this.length = 0;
    const offset = this.length;
    this.attempt = attempt;
    this.length = text.length;
    return { offset, text: text.slice(offset) };
  }
}

function frameEvent(frame: Frame, answer: SentAnswer): AnyGenerationEvent {
  const { seq, attempt, generationId } = frame;
  const base = {
    seq,
    attempt,
    at: new Date(frame.at),
    generationId: toGlobalId("Generation", generationId),
    frame: frame.frame,
  };
  if (frame.kind === "progress") {
    const { stage, stepsDone: step, totalSteps, etaMs = null } = frame;
    return { __typename: "ProgressEvent", ...base, stage, step, totalSteps, fraction: step / totalSteps, etaMs };
  }
  if (frame.kind === "text") return { __typename: "TextDeltaEvent", ...base, ...answer.next(frame) };
  const { index, width, height, webp } = frame;
  const dataBase64 = Buffer.from(webp).toString("base64");
  return { __typename: "PreviewEvent", ...base, index, width, height, mimeType: "image/webp", dataBase64 };
}
