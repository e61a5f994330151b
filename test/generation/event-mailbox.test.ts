import { expect, test } from "vitest";
import { EventMailbox } from "../../src/generation/event-mailbox.ts";
import type { ProgressFrame } from "../../src/progress/frame.ts";

const progress = (seq: number, frame: number): ProgressFrame => ({
  kind: "progress",
  generationId: "one",
  seq,
  attempt: 1,
  frame,
  at: 0,
  stage: "DRAWING",
  stepsDone: frame,
  totalSteps: 18,
  etaMs: undefined,
});

test("a frame waits until the milestone before it was sent: its seq is a place to resume from", async () => {
  const mailbox = new EventMailbox();
  mailbox.receive(progress(4, 1));
  expect(mailbox.hasMilestoneAfter(2)).toBe(true);
  expect(mailbox.takeFrames(2)).toEqual([]);
  expect(mailbox.takeFrames(4)).toEqual([progress(4, 1)]);
  expect(mailbox.takeFrames(4)).toEqual([]);
});

test("a frame from before the newest milestone that was sent is dropped", () => {
  const mailbox = new EventMailbox();
  mailbox.receive(progress(2, 1));
  expect(mailbox.takeFrames(4)).toEqual([]);
  expect(mailbox.takeFrames(2)).toEqual([]);
});

test("tells of each frame that gives way to a newer one before it was sent", () => {
  let dropped = 0;
  const mailbox = new EventMailbox(() => dropped++);
  mailbox.receive(progress(2, 1));
  mailbox.receive(progress(2, 3));
  mailbox.receive(progress(2, 2)); // comes late, and was never to be sent
  expect(dropped).toBe(1);
  expect(mailbox.takeFrames(2)).toHaveLength(1);
  mailbox.receive(progress(2, 4));
  expect(dropped).toBe(1);
});
