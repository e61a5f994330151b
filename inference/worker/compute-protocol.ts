/** What the thread that answers gRPC and the thread that computes say to each other. */
import type { DrawingEvent, DrawingSettings } from "../pipelines/drawing.ts";
import type { AnswerSampling } from "../pipelines/image-to-text.ts";
import type { Preview } from "../pipelines/latent-preview.ts";
import type { Stage as RunStage } from "../pipelines/stages.ts";
import type { TextToImageRequest } from "../pipelines/text-to-image.ts";
import type { Provider } from "../runtime/provider.ts";
import type { LogLevel } from "./log.ts";

/** Opens the computing thread. */
export interface ComputeSettings {
  readonly modelFolder: string;
  /** One that works on this machine. */
  readonly provider: Provider;
  readonly threads: number;
  /** Whether graphs without a copy that is prepared for this processor get one. */
  readonly prepares: boolean;
  readonly logLevel: LogLevel;
}

/** A task with its pictures as the files they came as. */
export type Task =
  | { readonly kind: "textToImage"; readonly request: TextToImageRequest }
  | { readonly kind: "imageEdit"; readonly request: EncodedImageEdit }
  | { readonly kind: "imageVariation"; readonly request: EncodedImageVariation }
  | { readonly kind: "imageToText"; readonly request: EncodedImageToText };

export interface EncodedImageEdit extends DrawingSettings {
  readonly instruction: string;
  readonly unconditionalPrompt: string;
  readonly source: Uint8Array;
  /** All of the picture is drawn anew unless given. */
  readonly mask?: Uint8Array | undefined;
}

export interface EncodedImageVariation extends DrawingSettings {
  readonly prompt: string | undefined;
  readonly unconditionalPrompt: string;
  readonly source: Uint8Array;
  /** Share of the tokens that are drawn anew. */
  readonly strength: number;
}

export interface EncodedImageToText {
  readonly question: string;
  readonly image: Uint8Array;
  /** Side in pixels. */
  readonly size: number;
  readonly maxTokens: number;
  readonly sampling: AnswerSampling | undefined;
}

/** An attempt to start. */
export interface StartRun {
  /** Its name: its lease id. */
  readonly run: string;
  readonly task: Task;
  readonly checkpoint: Uint8Array | undefined;
  /** It computes nothing while anything else does. */
  readonly isOnStandby: boolean;
  /** Its stages are told. */
  readonly isTraced: boolean;
}

export type ComputeCommand =
  /** Those that draw take their steps together. */
  | { readonly kind: "start"; readonly runs: readonly StartRun[] }
  | { readonly kind: "cancel"; readonly run: string }
  | { readonly kind: "yield"; readonly run: string };

export type Stage = "preparing" | "drawing" | "decoding" | "writing";

/** What a run says, in order; the last one is `done`, `yielded` or `failed`. */
export type RunEvent =
  | {
      readonly kind: "started";
      readonly stepsDone: number;
      readonly totalSteps: number;
      /** Attempts that take their steps together, this one included. */
      readonly groupSize: number;
    }
  | {
      readonly kind: "frame";
      readonly stage: Stage;
      readonly stepsDone: number;
      readonly totalSteps: number;
      readonly previews: readonly Preview[];
    }
  | { readonly kind: "checkpoint"; readonly stepsDone: number; readonly state: Uint8Array }
  | Extract<DrawingEvent, { readonly kind: "image" }>
  /** Words of an answer; the first has offset 0 and the whole answer so far. */
  | { readonly kind: "text"; readonly offset: number; readonly text: string }
  | {
      readonly kind: "done";
      readonly computeMs: number;
      /** Of all runs since the last one that was done. */
      readonly prompts: { readonly read: number; readonly known: number };
    }
  | { readonly kind: "yielded"; readonly computeMs: number }
  | { readonly kind: "failed"; readonly reason: "invalid" | "cancelled" | "internal"; readonly message: string };

export type ComputeMessage =
  /** Sessions are open. */
  | { readonly kind: "ready" }
  /** The thread finished one graph run: it lives. */
  | { readonly kind: "tick" }
  | { readonly kind: "run"; readonly run: string; readonly event: RunEvent }
  | { readonly kind: "stage"; readonly run: string; readonly stage: RunStage };

/** Nothing of the run follows. */
export const isLastEvent = ({ kind }: RunEvent): boolean => kind === "done" || kind === "yielded" || kind === "failed";
