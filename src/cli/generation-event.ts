/** What the server tells about a generation, as far as the command line uses it. */
import { z } from "zod";

export const WATCH = /* GraphQL */ `
  subscription Watch($id: ID!, $afterSeq: Int!) {
    generationEvents(id: $id, afterSeq: $afterSeq) {
      __typename
      seq
      ... on AttemptFailedEvent { willRetry }
      ... on ProgressEvent { stage step totalSteps etaMs }
      ... on TextDeltaEvent { offset text }
      ... on FinishedEvent {
        state
        failure { message }
        generation {
          creditsCharged
          answer
          textToImage { seed }
          imageEdit { seed }
          imageVariation { seed }
          images { url(expiresInSeconds: 3600) }
        }
      }
    }
  }
`;

const drawingSchema = z.object({ seed: z.string() }).nullable();

export const generationEventSchema = z.discriminatedUnion("__typename", [
  z.object({ __typename: z.literal("QueuedEvent"), seq: z.number() }),
  z.object({ __typename: z.literal("StartedEvent"), seq: z.number() }),
  z.object({ __typename: z.literal("AttemptFailedEvent"), seq: z.number(), willRetry: z.boolean() }),
  z.object({ __typename: z.literal("PreviewEvent"), seq: z.number() }),
  z.object({ __typename: z.literal("TextDeltaEvent"), seq: z.number(), offset: z.number(), text: z.string() }),
  z.object({
    __typename: z.literal("ProgressEvent"),
    seq: z.number(),
    stage: z.string(),
    step: z.number(),
    totalSteps: z.number(),
    etaMs: z.number().nullable(),
  }),
  z.object({
    __typename: z.literal("FinishedEvent"),
    seq: z.number(),
    state: z.string(),
    failure: z.object({ message: z.string() }).nullable(),
    generation: z.object({
      creditsCharged: z.string().nullable(),
      answer: z.string().nullable(),
      textToImage: drawingSchema,
      imageEdit: drawingSchema,
      imageVariation: drawingSchema,
      images: z.array(z.object({ url: z.string() })),
    }),
  }),
]);
export type GenerationEvent = z.infer<typeof generationEventSchema>;
export type FinishedEvent = Extract<GenerationEvent, { __typename: "FinishedEvent" }>;
