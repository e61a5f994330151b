/** One attempt on a worker, in the platform's own words: what is sent, what comes back, how it can end. */
import { ClientError, Status } from "nice-grpc";
import {
  type DescribeResponse,
  type Drawing,
  type DrawingOffer,
  type GenerateRequest,
  type GenerateResponse,
  GuidanceSchedule,
  Speed as WireSpeed,
  Stage as WireStage,
} from "../../proto/gen/inference/v1/inference.ts";
import { Speed } from "../platform/speed.type.ts";

export interface AttemptCheckpoint {
  readonly stepsDone: number;
  readonly state: Uint8Array;
}

export interface AttemptRequest {
  readonly leaseId: string;
  readonly preset: string;
  readonly group: AttemptGroup;
  /** Where an earlier attempt stood. */
  readonly resumeFrom: AttemptCheckpoint | undefined;
  readonly task: AttemptTask;
}

/** Attempts of one claim that a worker draws together. */
export interface AttemptGroup {
  readonly id: string;
  /** Attempts that are sent. */
  readonly size: number;
  /** They are sent ahead, and start when what the worker runs has ended. */
  readonly standby: boolean;
}

/** A task with its pictures by value. */
export type AttemptTask =
  | { readonly kind: "TEXT_TO_IMAGE"; readonly prompt: string; readonly drawing: DrawingWork }
  | {
      readonly kind: "IMAGE_EDIT";
      readonly instruction: string;
      readonly drawing: DrawingWork;
      readonly source: Uint8Array;
      readonly mask: Uint8Array | undefined;
    }
  | {
      readonly kind: "IMAGE_VARIATION";
      /** What fits unless given. */
      readonly prompt: string | undefined;
      readonly drawing: DrawingWork;
      readonly source: Uint8Array;
      readonly strength: number;
    }
  | {
      readonly kind: "IMAGE_TO_TEXT";
      readonly question: string;
      readonly image: Uint8Array;
      /** Side in pixels. */
      readonly size: number;
      readonly maxTokens: number;
      /** Of drawing every token; 0 takes the likeliest. */
      readonly temperature: number;
      readonly topP: number;
      readonly seed: string;
    };

export interface DrawingWork {
  readonly unconditionalPrompt: string;
  readonly width: number;
  readonly height: number;
  readonly count: number;
  readonly steps: number;
  readonly guidanceScale: number;
  readonly guidanceSchedule: "CONSTANT" | "LINEAR";
  readonly temperature: number;
  readonly speed: Speed;
  readonly seed: string;
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

export type WorkerStage = "PREPARING" | "DRAWING" | "DECODING" | "WRITING";

/** `done` or `yielded` comes last. */
export type WorkerEvent =
  | { readonly kind: "started"; readonly stepsDone: number; readonly totalSteps: number; readonly recipe: Recipe }
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
  /** Words of an answer; the first ones have offset 0 and are the whole answer so far. */
  | { readonly kind: "text"; readonly offset: number; readonly text: string }
  /** With what the worker asked its cache of prompts since the last one that was done. */
  | { readonly kind: "done"; readonly prompts: { readonly read: number; readonly known: number } }
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

export function toGenerateRequest({ task, ...request }: AttemptRequest): GenerateRequest {
  return { ...request, task: toWireTask(task) };
}

function toWireTask(task: AttemptTask): GenerateRequest["task"] {
  switch (task.kind) {
    case "TEXT_TO_IMAGE": {
      const { prompt, drawing } = task;
      return { $case: "textToImage", value: { prompt, drawing: toDrawing(drawing) } };
    }
    case "IMAGE_EDIT": {
      const { instruction, drawing, source, mask = new Uint8Array(0) } = task;
      return { $case: "imageEdit", value: { instruction, drawing: toDrawing(drawing), source, mask } };
    }
    case "IMAGE_VARIATION": {
      const { prompt = "", drawing, source, strength } = task;
      return { $case: "imageVariation", value: { prompt, drawing: toDrawing(drawing), source, strength } };
    }
    case "IMAGE_TO_TEXT": {
      const { kind, seed, ...value } = task;
      return { $case: "imageToText", value: { ...value, seed: BigInt(seed) } };
    }
  }
}

const toDrawing = ({ width, height, seed, guidanceSchedule, speed, ...settings }: DrawingWork): Drawing => ({
  ...settings,
  size: { width, height },
  guidanceSchedule: GuidanceSchedule[guidanceSchedule],
  speed: WireSpeed[speed],
  seed: BigInt(seed),
});

const STAGES: Readonly<Record<WireStage, WorkerStage>> = {
  [WireStage.UNSPECIFIED]: "PREPARING",
  [WireStage.PREPARING]: "PREPARING",
  [WireStage.DRAWING]: "DRAWING",
  [WireStage.DECODING]: "DECODING",
  [WireStage.WRITING]: "WRITING",
};

/** Undefined for a message of a newer worker that means nothing here. */
export function toWorkerEvent({ event }: GenerateResponse): WorkerEvent | undefined {
  switch (event?.$case) {
    case "started": {
      const { stepsDone, totalSteps, recipe } = event.value;
      if (recipe === undefined) throw new WorkerCallError("internal", "The worker sent no recipe.");
      return { kind: "started", stepsDone, totalSteps, recipe };
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
    case "text":
      return { kind: "text", ...event.value };
    case "done":
      return { kind: "done", prompts: { read: event.value.promptsRead, known: event.value.promptsKnown } };
    case "yielded":
      return { kind: "yielded" };
    case undefined:
      return undefined;
  }
}

/** What a worker offers, as JSON has it: speeds by name, without those of a newer worker that mean nothing here. */
export const offersOf = ({ presets }: Pick<DescribeResponse, "presets">): readonly unknown[] =>
  presets.map(({ textToImage, imageEdit, imageVariation, ...preset }) => ({
    ...preset,
    textToImage: textToImage && withNamedSpeeds(textToImage),
    imageEdit: imageEdit && withNamedSpeeds(imageEdit),
    imageVariation: imageVariation && withNamedSpeeds(imageVariation),
  }));

const withNamedSpeeds = ({ speeds, ...offer }: DrawingOffer): object => ({
  ...offer,
  speeds: Object.values(Speed).flatMap((speed) => {
    const found = speeds.find((each) => each.speed === WireSpeed[speed]);
    return found === undefined ? [] : [{ ...found, speed }];
  }),
});

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
