/** One attempt on a worker, in the platform's own words: what is sent, what comes back, how it can end. */
import { ClientError, Status } from "nice-grpc";
import {
  type GenerateRequest,
  type GenerateResponse,
  GuidanceSchedule,
  Stage as WireStage,
} from "../../proto/gen/inference/v1/inference.ts";

export interface AttemptCheckpoint {
  readonly stepsDone: number;
  readonly state: Uint8Array;
}

export interface AttemptRequest {
  readonly leaseId: string;
  readonly preset: string;
  /** Where an earlier attempt stood. */
  readonly resumeFrom: AttemptCheckpoint | undefined;
  readonly textToImage: {
    readonly prompt: string;
    readonly unconditionalPrompt: string;
    readonly width: number;
    readonly height: number;
    readonly count: number;
    readonly steps: number;
    readonly guidanceScale: number;
    readonly guidanceSchedule: "CONSTANT" | "LINEAR";
    readonly temperature: number;
    readonly seed: string;
  };
}

export interface Recipe {
  readonly buildDigest: string;
  readonly provider: string;
  readonly runtimeVersion: string;
  readonly threads: number;
  readonly groupSize: number;
}

export interface WorkerPreview {
  readonly index: number;
  readonly width: number;
  readonly height: number;
  readonly webp: Uint8Array;
}

export type WorkerStage = "PREPARING" | "DRAWING" | "DECODING";

/** `done` or `yielded` comes last. */
export type WorkerEvent =
  | { readonly kind: "started"; readonly stepsDone: number; readonly recipe: Recipe }
  | {
      readonly kind: "frame";
      readonly stage: WorkerStage;
      readonly stepsDone: number;
      readonly totalSteps: number;
      readonly previews: readonly WorkerPreview[];
    }
  | { readonly kind: "checkpoint"; readonly checkpoint: AttemptCheckpoint }
  | {
      readonly kind: "image";
      readonly index: number;
      readonly width: number;
      readonly height: number;
      readonly mimeType: string;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "done" }
  | { readonly kind: "yielded" };

/** invalid: the model refuses, and would again. busy: no slot. lost: the worker is gone or going. */
export type CallFailure = "invalid" | "busy" | "cancelled" | "lost" | "internal";

export class WorkerCallError extends Error {
  override readonly name = "WorkerCallError";

  constructor(
    readonly reason: CallFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export function toGenerateRequest({ leaseId, preset, resumeFrom, textToImage }: AttemptRequest): GenerateRequest {
  const { width, height, seed, guidanceSchedule, ...settings } = textToImage;
  return {
    leaseId,
    preset,
    group: { id: leaseId, size: 1 },
    resumeFrom,
    task: {
      $case: "textToImage",
      value: {
        ...settings,
        size: { width, height },
        guidanceSchedule: GuidanceSchedule[guidanceSchedule],
        seed: BigInt(seed),
      },
    },
  };
}

const STAGES: Readonly<Record<WireStage, WorkerStage>> = {
  [WireStage.UNSPECIFIED]: "PREPARING",
  [WireStage.PREPARING]: "PREPARING",
  [WireStage.DRAWING]: "DRAWING",
  [WireStage.DECODING]: "DECODING",
};

/** Undefined for a message of a newer worker that means nothing here. */
export function toWorkerEvent({ event }: GenerateResponse): WorkerEvent | undefined {
  switch (event?.$case) {
    case "started": {
      const { stepsDone, recipe } = event.value;
      if (recipe === undefined) throw new WorkerCallError("internal", "The worker sent no recipe.");
      return { kind: "started", stepsDone, recipe };
    }
    case "frame":
      return { kind: "frame", ...event.value, stage: STAGES[event.value.stage] };
    case "checkpoint":
      return { kind: "checkpoint", checkpoint: event.value };
    case "image": {
      const { index, size, mimeType, data } = event.value;
      if (size === undefined) throw new WorkerCallError("internal", "The worker sent a picture without a size.");
      return { kind: "image", index, ...size, mimeType, bytes: data };
    }
    case "done":
      return { kind: "done" };
    case "yielded":
      return { kind: "yielded" };
    case undefined:
      return undefined;
  }
}

/** What a failed call says about the attempt; inference.proto lists the statuses. */
export function toCallError(error: unknown): WorkerCallError {
  if (error instanceof WorkerCallError) return error;
  if (error instanceof ClientError)
    return new WorkerCallError(REASONS[error.code] ?? "lost", error.details, { cause: error });
  if (error instanceof Error && error.name === "AbortError")
    return new WorkerCallError("cancelled", "The call was aborted.", { cause: error });
  return new WorkerCallError("internal", error instanceof Error ? error.message : String(error), { cause: error });
}

const REASONS: Partial<Record<Status, CallFailure>> = {
  [Status.INVALID_ARGUMENT]: "invalid",
  [Status.RESOURCE_EXHAUSTED]: "busy",
  [Status.CANCELLED]: "cancelled",
  [Status.INTERNAL]: "internal",
  [Status.UNKNOWN]: "internal",
};
