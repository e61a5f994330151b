/** What a generation was asked to do, with every default resolved: stored, and enough to run it again. */
import { z } from "zod";

export const textToImageSettingsSchema = z.object({
  prompt: z.string(),
  unconditionalPrompt: z.string(),
  width: z.number().int().positive(),
  height: z.number().int().positive(),
  count: z.number().int().positive(),
  steps: z.number().int().positive(),
  guidanceScale: z.number(),
  guidanceSchedule: z.enum(["CONSTANT", "LINEAR"]),
  temperature: z.number(),
  /** Unsigned 64 bits, in decimal: JSON numbers lose such values. */
  seed: z.string().regex(/^\d{1,20}$/),
});

export type TextToImageSettings = z.infer<typeof textToImageSettingsSchema>;
