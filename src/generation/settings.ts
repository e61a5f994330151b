/** What a generation was asked to do, with every default resolved: stored, and enough to run it again. */
import { z } from "zod";
import type { TaskKind } from "../generated/prisma/enums.ts";
import { Speed } from "../platform/speed.type.ts";
import type { Work } from "../quota/tariff.ts";

const count = z.number().int().positive();

/** Unsigned 64 bits, in decimal: JSON numbers lose such values. */
const seed = z.string().regex(/^\d{1,20}$/);

const drawing = {
  unconditionalPrompt: z.string(),
  width: count,
  height: count,
  count,
  steps: count,
  guidanceScale: z.number(),
  guidanceSchedule: z.enum(["CONSTANT", "LINEAR"]),
  temperature: z.number(),
  /** Whatever was stored before there was a choice was drawn exactly. */
  speed: z.enum(Speed).default("EXACT"),
  seed,
};

/** Of the original in the image store. */
const key = z.string();
/** One of a generation, or one that a member brought. */
const pictureSchema = z.union([z.object({ imageId: z.uuid(), key }), z.object({ uploadId: z.uuid(), key })]);

const textToImageSchema = z.object({ prompt: z.string(), ...drawing });
const imageEditSchema = z.object({
  instruction: z.string(),
  ...drawing,
  source: pictureSchema,
  mask: pictureSchema.optional(),
});
const imageVariationSchema = z.object({
  /** What fits to the tokens that stay unless given. */
  prompt: z.string().optional(),
  ...drawing,
  source: pictureSchema,
  /** Share of the tokens that are drawn anew. */
  strength: z.number(),
});
const imageToTextSchema = z.object({
  question: z.string(),
  image: pictureSchema,
  /** Side at which the picture is looked at, in pixels. */
  size: count,
  maxTokens: count,
  /** 0 takes the likeliest token each time, as every answer did before there was a choice. */
  temperature: z.number().default(0),
  topP: z.number().default(1),
  seed: seed.default("0"),
});

export type DrawingSettings = Omit<z.infer<typeof textToImageSchema>, "prompt">;
export type TextToImageSettings = z.infer<typeof textToImageSchema>;
export type ImageEditSettings = z.infer<typeof imageEditSchema>;
export type ImageVariationSettings = z.infer<typeof imageVariationSchema>;
export type ImageToTextSettings = z.infer<typeof imageToTextSchema>;
export type Picture = z.infer<typeof pictureSchema>;

export type Task =
  | { readonly kind: "TEXT_TO_IMAGE"; readonly settings: TextToImageSettings }
  | { readonly kind: "IMAGE_EDIT"; readonly settings: ImageEditSettings }
  | { readonly kind: "IMAGE_VARIATION"; readonly settings: ImageVariationSettings }
  | { readonly kind: "IMAGE_TO_TEXT"; readonly settings: ImageToTextSettings };

/** The task of a stored row. */
export function parseTask({ task: kind, settings }: { readonly task: TaskKind; readonly settings: unknown }): Task {
  switch (kind) {
    case "TEXT_TO_IMAGE":
      return { kind, settings: parseTextToImage(settings) };
    case "IMAGE_EDIT":
      return { kind, settings: imageEditSchema.parse(settings) };
    case "IMAGE_VARIATION":
      return { kind, settings: imageVariationSchema.parse(settings) };
    case "IMAGE_TO_TEXT":
      return { kind, settings: imageToTextSchema.parse(settings) };
  }
}

export const parseTextToImage = (settings: unknown): TextToImageSettings => textToImageSchema.parse(settings);

/** MAR steps, or tokens of an answer: the most there can be. */
export const totalStepsOf = (task: Task): number =>
  task.kind === "IMAGE_TO_TEXT" ? task.settings.maxTokens : task.settings.steps;

/** What is paid for. */
export const workOf = (task: Task): Work =>
  task.kind === "IMAGE_TO_TEXT" ? { size: task.settings.size, tokens: task.settings.maxTokens } : task.settings;
