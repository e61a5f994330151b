/** What the thread that answers gRPC and the thread that computes say to each other. */
import type { Preview } from "../pipelines/latent-preview.ts";
import type { TextToImageRequest } from "../pipelines/text-to-image.ts";

/** Opens the computing thread. */
export interface ComputeSettings {
  readonly modelFolder: string;
  readonly threads: number;
}

/** `run` names an attempt: its lease id. */
export type ComputeCommand =
  | {
      readonly kind: "start";
      readonly run: string;
      readonly request: TextToImageRequest;
      readonly checkpoint?: Uint8Array;
    }
  | { readonly kind: "cancel"; readonly run: string }
  | { readonly kind: "yield"; readonly run: string };

export type Stage = "preparing" | "drawing" | "decoding";

/** What a run says, in order; the last one is `done`, `yielded` or `failed`. */
export type RunEvent =
  | { readonly kind: "started"; readonly stepsDone: number; readonly totalSteps: number }
  | {
      readonly kind: "frame";
      readonly stage: Stage;
      readonly stepsDone: number;
      readonly totalSteps: number;
      readonly previews: readonly Preview[];
    }
  | { readonly kind: "checkpoint"; readonly stepsDone: number; readonly state: Uint8Array }
  | {
      readonly kind: "image";
      readonly index: number;
      readonly width: number;
      readonly height: number;
      readonly png: Uint8Array;
    }
  | { readonly kind: "done"; readonly computeMs: number }
  | { readonly kind: "yielded"; readonly computeMs: number }
  | { readonly kind: "failed"; readonly reason: "invalid" | "cancelled" | "internal"; readonly message: string };

export type ComputeMessage =
  /** Sessions are open. */
  | { readonly kind: "ready" }
  /** The thread finished one graph run: it lives. */
  | { readonly kind: "tick" }
  | { readonly kind: "run"; readonly run: string; readonly event: RunEvent };

/** Nothing of the run follows. */
export const isLastEvent = ({ kind }: RunEvent): boolean => kind === "done" || kind === "yielded" || kind === "failed";
