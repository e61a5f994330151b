/** Presets as admission needs them; whoever knows the pools provides this. */

import type { Tx } from "../platform/database.ts";

export interface TextToImageOffer {
  readonly sizes: readonly { readonly width: number; readonly height: number }[];
  readonly defaultSize: { readonly width: number; readonly height: number };
  readonly maxSteps: number;
  readonly defaultSteps: number;
  readonly maxCount: number;
  readonly defaultGuidanceScale: number;
  readonly defaultTemperature: number;
  readonly defaultUnconditionalPrompt: string;
}

export interface OfferedPreset {
  readonly name: string;
  /** A pool that serves it. */
  readonly pool: string;
  /** Undefined when the preset does not draw. */
  readonly textToImage: TextToImageOffer | undefined;
}

export interface PresetCatalog {
  /** Every preset that some pool serves, whether a worker of it lives or not. */
  list(tx: Tx): Promise<readonly OfferedPreset[]>;
}
