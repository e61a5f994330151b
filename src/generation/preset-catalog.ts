/** Presets as admission needs them; whoever knows the pools provides this. */

import type { Tx } from "../platform/database.ts";
import type { Speed } from "../platform/speed.type.ts";

/** Pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Of a task that draws. */
export interface DrawingOffer {
  /** What the model draws best. */
  readonly sizes: readonly Size[];
  /** Sides of any other size are multiples of it. */
  readonly sizeStep: number;
  /** Of any other size. */
  readonly maxPixels: number;
  readonly defaultSize: Size;
  readonly maxSteps: number;
  readonly defaultSteps: number;
  readonly maxCount: number;
  readonly defaultGuidanceScale: number;
  readonly defaultTemperature: number;
  readonly defaultUnconditionalPrompt: string;
  readonly speeds: readonly { readonly speed: Speed }[];
}

export interface ImageToTextOffer {
  /** Sides at which a picture can be looked at. */
  readonly sizes: readonly number[];
  readonly defaultSize: number;
  readonly maxTokens: number;
}

export interface OfferedPreset {
  readonly name: string;
  /** A pool that serves it. */
  readonly pool: string;
  /** What its work costs, as a multiple of the tariff's prices. */
  readonly priceFactor: number;
  /** Tasks that the preset does not do are undefined. */
  readonly textToImage: DrawingOffer | undefined;
  readonly imageEdit: DrawingOffer | undefined;
  readonly imageVariation: DrawingOffer | undefined;
  readonly imageToText: ImageToTextOffer | undefined;
}

export interface PresetCatalog {
  /** Every preset that some pool serves, whether a worker of it lives or not. */
  list(tx: Tx): Promise<readonly OfferedPreset[]>;
  /** As they were at most a second ago. */
  listRecent(tx: Tx): Promise<readonly OfferedPreset[]>;
}
