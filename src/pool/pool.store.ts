import { z } from "zod";
import type { Tx } from "../platform/database.ts";
import { Speed } from "../platform/speed.type.ts";

const sizeSchema = z.object({ width: z.number(), height: z.number() });

const drawingOfferSchema = z.object({
  sizes: z.array(sizeSchema),
  defaultSize: sizeSchema,
  /** Offers that were stored before sizes were free have only those listed. */
  sizeStep: z.number().default(1),
  maxPixels: z.number().default(0),
  maxSteps: z.number(),
  defaultSteps: z.number(),
  maxCount: z.number(),
  defaultGuidanceScale: z.number(),
  defaultTemperature: z.number(),
  defaultUnconditionalPrompt: z.string(),
  /** Offers that were stored before there was a choice have only the exact way. */
  speeds: z
    .array(z.object({ speed: z.enum(Speed), description: z.string() }))
    .default([{ speed: "EXACT", description: "" }]),
});

/** A preset as a pool last offered it; stored as JSON. */
export const presetOfferSchema = z.object({
  name: z.string(),
  buildDigest: z.string(),
  textToImage: drawingOfferSchema.optional(),
  imageEdit: drawingOfferSchema.optional(),
  imageVariation: drawingOfferSchema.optional(),
  imageToText: z.object({ sizes: z.array(z.number()), defaultSize: z.number(), maxTokens: z.number() }).optional(),
});
export type PresetOffer = z.infer<typeof presetOfferSchema>;

/** Records what the live workers of a pool offer. */
export async function savePool(tx: Tx, name: string, presets: readonly PresetOffer[]): Promise<void> {
  const content = [...presets];
  await tx.pool.upsert({
    where: { name },
    create: { name, presets: content },
    update: { presets: content, seenAt: new Date() },
  });
}

export async function listPools(tx: Tx): Promise<readonly { name: string; presets: readonly PresetOffer[] }[]> {
  const rows = await tx.pool.findMany({ orderBy: { name: "asc" } });
  return rows.map(({ name, presets }) => ({ name, presets: presetOfferSchema.array().parse(presets) }));
}
