/**
 * Asks the operator's own service. One POST of JSON for each question, signed as Standard Webhooks are; the answer must be
 * exactly a verdict. The address is the operator's, no redirect is followed, and nothing of question or secret is logged.
 */
import { createHmac } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import type { Clock } from "../platform/clock.ts";
import { newId } from "../platform/ids.ts";
import type { Logger } from "../platform/logger.ts";

const MAX_TRIES = 3;
/** Before the second try; twice as long before the next one. */
const RETRY_MS = 200;
const MAX_ANSWER_BYTES = 16 * 1024;
/** After so many questions in a row without an answer, nobody waits for the next ones: it is left alone for a moment. */
const MAX_FAILURES = 5;
const PAUSE_MS = 5000;

const answerSchema = z.strictObject({
  verdict: z.enum(["ALLOW", "BLOCK"]),
  category: z
    .string()
    .regex(/^[\p{L}\p{N}][\p{L}\p{N} _./-]{0,63}$/u)
    .nullish(),
});
export type HttpAnswer = z.infer<typeof answerSchema>;

export interface HttpCheckerOptions {
  readonly url: string;
  readonly secret: string;
  /** For a question with all its tries. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Why there is no answer: never in the words of the other side. */
class NoAnswerError extends Error {
  constructor(
    message: string,
    /** Whether another try may help. */
    readonly isPassing: boolean,
  ) {
    super(message);
  }
}

export class HttpChecker {
  private failures = 0;
  private pausedUntil = 0;

  constructor(private readonly options: HttpCheckerOptions) {}

  /**
   * The answer; undefined when there is none.
   * @param facts for the log
   * @throws the signal's reason when it is aborted
   */
  async ask(question: object, facts: object, signal: AbortSignal): Promise<HttpAnswer | undefined> {
    const { timeoutMs, clock, logger } = this.options;
    signal.throwIfAborted();
    if (clock.elapsedMs() < this.pausedUntil) return undefined;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const answer = await this.tryAll(JSON.stringify(question), AbortSignal.any([signal, deadline]));
      this.failures = 0;
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      const reason = deadline.aborted ? "timeout" : error instanceof NoAnswerError ? error.message : "unreachable";
      logger.warn({ ...facts, reason }, "moderation service gave no verdict");
      if (++this.failures >= MAX_FAILURES) this.pausedUntil = clock.elapsedMs() + PAUSE_MS;
      return undefined;
    }
  }

  private async tryAll(body: string, signal: AbortSignal): Promise<HttpAnswer> {
    const id = `msg_${newId()}`; // the same for all tries
    for (let tries = 1; ; tries++) {
      try {
        return await this.post(id, body, signal);
      } catch (error) {
        const isLasting = error instanceof NoAnswerError && !error.isPassing;
        if (signal.aborted || isLasting || tries === MAX_TRIES) throw error;
        await setTimeout(RETRY_MS * 2 ** (tries - 1), undefined, { signal });
      }
    }
  }

  private async post(id: string, body: string, signal: AbortSignal): Promise<HttpAnswer> {
    const { url, secret, clock } = this.options;
    const timestamp = String(Math.floor(clock.now().getTime() / 1000));
    const signature = createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`).digest("base64");
    const headers = {
      "content-type": "application/json",
      accept: "application/json",
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": `v1,${signature}`,
    };
    const response = await fetch(url, { method: "POST", headers, body, redirect: "error", signal });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new NoAnswerError(`status ${response.status}`, response.status >= 500 || response.status === 429);
    }
    return parseAnswer(await readBody(response));
  }
}

async function readBody(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new NoAnswerError("answer too large", false); // leaving the loop cancels the rest
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseAnswer(text: string): HttpAnswer {
  try {
    return answerSchema.parse(JSON.parse(text));
  } catch {
    throw new NoAnswerError("answer is no verdict", false);
  }
}
