/** Bus messages as bytes: a line of JSON, then the picture if there is one, as it is. */
import { z } from "zod";
import { type BusMessage, STAGES } from "./frame.ts";

const base = { generationId: z.string(), seq: z.int(), attempt: z.int(), frame: z.int(), at: z.number() };

const headerSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("progress"),
    ...base,
    stage: z.enum(STAGES),
    stepsDone: z.int(),
    totalSteps: z.int(),
    etaMs: z
      .number()
      .nullable()
      .transform((etaMs) => etaMs ?? undefined),
  }),
  z.object({ kind: z.literal("preview"), ...base, index: z.int(), width: z.int(), height: z.int() }),
  z.object({ kind: z.literal("text"), ...base, text: z.string() }),
  z.object({ kind: z.literal("milestone"), generationId: z.string(), seq: z.int() }),
]);

const LINE_FEED = 0x0a;

export function encodeMessage(message: BusMessage): Buffer {
  if (message.kind === "preview") {
    const { webp, ...header } = message;
    return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), webp]);
  }
  const header = message.kind === "progress" ? { ...message, etaMs: message.etaMs ?? null } : message;
  return Buffer.from(`${JSON.stringify(header)}\n`);
}

/** @returns undefined for what this version does not know: while servers are replaced, others speak to them too */
export function decodeMessage(bytes: Buffer): BusMessage | undefined {
  const end = bytes.indexOf(LINE_FEED);
  const header = headerSchema.safeParse(parseJson(bytes.toString("utf8", 0, Math.max(0, end))));
  if (!header.success) return undefined;
  return header.data.kind === "preview"
    ? { ...header.data, webp: new Uint8Array(bytes.subarray(end + 1)) }
    : header.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
