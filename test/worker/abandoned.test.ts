import { type CallContext, Metadata } from "nice-grpc";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { Compute } from "../../inference/worker/compute.ts";
import type { RunEvent } from "../../inference/worker/compute-protocol.ts";
import { InferenceService } from "../../inference/worker/inference-service.ts";
import { createLogger } from "../../inference/worker/log.ts";
import { Offer } from "../../inference/worker/offer.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";
import { requestOf, SHORT } from "./attempts.ts";

const TWO_MINUTES_MS = 120_000;

let model: TinyModel;
beforeAll(async () => {
  model = openTinyModel();
});
afterAll(() => model.remove());
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** An attempt whose caller hangs up, on a thread that ends it when the test says so. */
function hangUp() {
  let isStuck = false;
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  async function* run(): AsyncGenerator<RunEvent> {
    await ended;
    yield { kind: "failed", reason: "cancelled", message: "as the test says" };
  }
  const settings = {
    modelFolder: model.folder,
    provider: "cpu",
    threads: 1,
    prepares: false,
    logLevel: "silent",
  } as const;
  const offer = new Offer(settings, { slots: 1, standby: 0 });
  const service = new InferenceService({ run } as unknown as Compute, offer, createLogger("silent"), () => {
    isStuck = true;
  });
  const caller = new AbortController();
  const metadata = Metadata();
  const context: CallContext = {
    metadata,
    header: metadata,
    trailer: metadata,
    peer: "test",
    sendHeader: () => {},
    signal: caller.signal,
  };
  const answer = service.generate(requestOf(SHORT), context).next();
  answer.catch(() => {});
  caller.abort();
  return {
    isStuck: () => isStuck,
    async end() {
      end();
      await expect(answer).rejects.toThrow("as the test says");
    },
  };
}

test("a worker gives itself up when an attempt that nobody waits for does not end within two minutes", () => {
  const attempt = hangUp();
  vi.advanceTimersByTime(TWO_MINUTES_MS - 1);
  expect(attempt.isStuck()).toBe(false);
  vi.advanceTimersByTime(1);
  expect(attempt.isStuck()).toBe(true);
});

test("a worker goes on when such an attempt ends in time", async () => {
  const attempt = hangUp();
  vi.advanceTimersByTime(TWO_MINUTES_MS - 1);
  await attempt.end();
  vi.advanceTimersByTime(TWO_MINUTES_MS);
  expect(attempt.isStuck()).toBe(false);
});
