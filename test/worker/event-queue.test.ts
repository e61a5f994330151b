import { expect, test } from "vitest";
import type { RunEvent } from "../../inference/worker/compute-protocol.ts";
import { EventQueue } from "../../inference/worker/event-queue.ts";

const setup = () => new EventQueue();

const frame = (stepsDone: number): RunEvent => ({
  kind: "frame",
  stage: "drawing",
  stepsDone,
  totalSteps: 9,
  previews: [],
});
const checkpoint: RunEvent = { kind: "checkpoint", stepsDone: 2, state: new Uint8Array(1) };
const done: RunEvent = { kind: "done", computeMs: 1, prompts: { read: 0, known: 0 } };

async function take(queue: EventQueue, count: number): Promise<(RunEvent | undefined)[]> {
  const events = [];
  for (let i = 0; i < count; i++) events.push(await queue.next(60_000));
  return events;
}

test("events come in the order in which they happened", async () => {
  const queue = setup();
  for (const event of [frame(1), checkpoint, frame(2), done]) queue.push(event);
  expect(await take(queue, 4)).toEqual([frame(1), checkpoint, frame(2), done]);
});

test("a frame that nobody took is replaced by the next one", async () => {
  const queue = setup();
  for (const event of [frame(1), frame(2), frame(3), checkpoint, frame(4), frame(5)]) queue.push(event);
  expect(await take(queue, 3)).toEqual([frame(3), checkpoint, frame(5)]);
});

test("whoever waits is woken by the next event", async () => {
  const queue = setup();
  const waiting = queue.next(60_000);
  queue.push(done);
  expect(await waiting).toEqual(done);
});

test("whoever waited long enough gets nothing, and loses nothing", async () => {
  const queue = setup();
  expect(await queue.next(0)).toBeUndefined();
  queue.push(done);
  expect(await queue.next(0)).toEqual(done);
});
