/** How far an attempt is, how fast it goes, and whether it still gives signs of life. */
import type { Clock } from "../platform/clock.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { WorkerEvent } from "../pool/worker-call.ts";
import type { FrameBus } from "../progress/frame-bus.ts";

/** Silence that a worker may keep: while its pace is unknown, and at least once it is known. */
const UNLEARNED_SILENCE_MS = 10 * 60_000;
const MIN_SILENCE_MS = 30_000;
const SILENCE_STEPS = 10;

export interface ProgressSubject {
  readonly generationId: string;
  readonly attempt: number;
  readonly seq: number;
  readonly preset: string;
  readonly worker: string;
}

export interface ProgressServices {
  readonly bus: FrameBus;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

export class AttemptProgress {
  stepsDone = 0;
  hasStarted = false;
  /** Nobody may see a picture that nobody has judged. */
  withholdsPreviews = false;
  /** Steps that the newest checkpoint of the generation holds. */
  private savedSteps = 0;
  /** Where an earlier attempt left off. */
  firstStep = 0;
  /** As its worker counts them. */
  private totalSteps: number | undefined;
  private startedAt = 0;
  /** When it took its newest step. */
  private steppedAt = 0;
  private lastSign: number;
  private frame = 0;
  private text = "";

  constructor(
    private readonly subject: ProgressSubject,
    private readonly services: ProgressServices,
  ) {
    this.lastSign = this.now();
  }

  /** The worker was heard, and is listened to again. */
  noteSign(): void {
    this.lastSign = this.now();
  }

  /** Where an earlier attempt left off. */
  resumeFrom(stepsDone: number): void {
    this.stepsDone = stepsDone;
    this.firstStep = stepsDone;
    this.savedSteps = stepsDone;
  }

  start({ stepsDone, totalSteps }: { stepsDone: number; totalSteps: number }): void {
    this.hasStarted = true;
    this.totalSteps = totalSteps;
    this.stepsDone = stepsDone;
    this.startedAt = this.now();
    this.steppedAt = this.startedAt;
  }

  /** The step before a yield has no frame of its own. */
  save(stepsDone: number): void {
    this.stepsDone = stepsDone;
    this.savedSteps = stepsDone;
  }

  /** Whether the next attempt goes on from further than this one did. */
  get hasAdvanced(): boolean {
    return this.savedSteps > this.firstStep;
  }

  /** Undefined before the worker has said so. */
  get stepsLeft(): number | undefined {
    return this.totalSteps === undefined ? undefined : this.totalSteps - this.stepsDone;
  }

  get isInLastStep(): boolean {
    return this.stepsLeft !== undefined && this.stepsLeft <= 1;
  }

  /** Milliseconds that its steps still take at its pace; undefined while that is unknown. */
  get leftMs(): number | undefined {
    const { stepsLeft = 0 } = this;
    const stepMs = this.stepMs();
    return stepMs === undefined ? undefined : stepMs * stepsLeft;
  }

  get isSilent(): boolean {
    const stepMs = this.stepMs();
    const allowed = stepMs === undefined ? UNLEARNED_SILENCE_MS : Math.max(MIN_SILENCE_MS, SILENCE_STEPS * stepMs);
    return this.now() - this.lastSign > allowed;
  }

  publish({ stage, stepsDone, totalSteps, previews }: Extract<WorkerEvent, { kind: "frame" }>): void {
    const { generationId, attempt, seq } = this.subject;
    const { bus, metrics, clock } = this.services;
    const now = this.now();
    if (stepsDone > this.stepsDone) {
      metrics.noteSteps(this.subject, stepsDone - this.stepsDone, now - this.steppedAt);
      this.steppedAt = now;
    }
    this.stepsDone = stepsDone;
    const stepMs = this.stepMs();
    const etaMs = stepMs === undefined ? undefined : Math.round(stepMs * (totalSteps - stepsDone));
    const base = { generationId, attempt, seq, at: clock.now().getTime() };
    bus.publish({ kind: "progress", ...base, frame: ++this.frame, stage, stepsDone, totalSteps, etaMs });
    if (this.withholdsPreviews) return;
    for (const preview of previews) bus.publish({ kind: "preview", ...base, frame: ++this.frame, ...preview });
  }

  /** The next words of an answer. */
  publishText(words: string): void {
    this.text += words;
    const { generationId, attempt, seq } = this.subject;
    const { bus, clock } = this.services;
    bus.publish({
      kind: "text",
      generationId,
      attempt,
      seq,
      at: clock.now().getTime(),
      frame: ++this.frame,
      text: this.text,
    });
  }

  /** All words so far. */
  get answer(): string {
    return this.text;
  }

  /** Mean of this attempt's steps so far. */
  private stepMs(): number | undefined {
    const taken = this.stepsDone - this.firstStep;
    return taken === 0 ? undefined : (this.now() - this.startedAt) / taken;
  }

  private now(): number {
    return this.services.clock.elapsedMs();
  }
}
