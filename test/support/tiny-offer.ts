import type { PresetOffer } from "../../src/pool/pool.store.ts";

/** What a worker of the preset `tiny` offers, as far as it draws from text. */
export const TINY_OFFER = {
  name: "tiny",
  buildDigest: "",
  textToImage: {
    sizes: [{ width: 96, height: 96 }],
    defaultSize: { width: 96, height: 96 },
    sizeStep: 16,
    maxPixels: 9216,
    maxSteps: 36,
    defaultSteps: 18,
    maxCount: 4,
    defaultGuidanceScale: 3,
    defaultTemperature: 1,
    defaultUnconditionalPrompt: "Generate an image.",
    speeds: [{ speed: "EXACT", description: "" }],
  },
} satisfies PresetOffer;
