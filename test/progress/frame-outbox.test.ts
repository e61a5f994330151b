import { expect, test } from "vitest";
import type { PreviewFrame } from "../../src/progress/frame.ts";
import { FrameOutbox, MAX_OUTBOX_BYTES } from "../../src/progress/frame-outbox.ts";

const preview = (generation: number, frame: number, bytes = 24 * 1024): PreviewFrame => ({
  kind: "preview",
  generationId: `generation ${generation}`,
  seq: 2,
  attempt: 1,
  frame,
  at: 0,
  index: 0,
  width: 256,
  height: 256,
  webp: new Uint8Array(bytes),
});

test("holds the newest frames of those that came last, in bounded bytes, when nobody takes any", () => {
  const outbox = new FrameOutbox();
  for (let frame = 1; frame <= 10; frame++)
    for (let generation = 0; generation < 1000; generation++) outbox.put(preview(generation, frame));
  const taken = outbox.take(Number.POSITIVE_INFINITY) as readonly PreviewFrame[];
  const bytes = taken.reduce((sum, { webp }) => sum + webp.byteLength, 0);
  expect(bytes).toBeLessThanOrEqual(MAX_OUTBOX_BYTES);
  expect(bytes).toBeGreaterThan(MAX_OUTBOX_BYTES * 0.9);
  expect(taken.at(-1)).toMatchObject({ generationId: "generation 999", frame: 10 });
  expect(outbox.take(1)).toEqual([]);
});

test("has room again for what was taken, and takes no message that is out of all proportion", () => {
  const outbox = new FrameOutbox();
  for (let round = 0; round < 3; round++) {
    for (let generation = 0; generation < 300; generation++) outbox.put(preview(generation, round));
    outbox.put(preview(1000, 1, 10 * MAX_OUTBOX_BYTES));
    expect(outbox.take(Number.POSITIVE_INFINITY)).toHaveLength(300);
  }
});

test("hands out generations in the order in which they began to wait, however much one publishes", () => {
  const outbox = new FrameOutbox();
  for (let generation = 0; generation < 3; generation++) outbox.put(preview(generation, 1));
  for (let frame = 2; frame < 100; frame++) outbox.put(preview(0, frame));
  outbox.put({ kind: "milestone", generationId: "generation 0", seq: 3 });
  expect(outbox.take(1)).toMatchObject([{ frame: 99 }, { kind: "milestone" }]);
  outbox.put(preview(0, 100));
  expect(outbox.take(1)).toMatchObject([{ generationId: "generation 1" }]);
  expect(outbox.take(1)).toMatchObject([{ generationId: "generation 2" }]);
  expect(outbox.take(1)).toMatchObject([{ frame: 100 }]);
});

test("tells of each frame that is never handed out", () => {
  let dropped = 0;
  const outbox = new FrameOutbox(() => dropped++);
  for (let frame = 1; frame <= 3; frame++) outbox.put(preview(0, frame));
  expect(dropped).toBe(2);
  const put = 1000;
  for (let generation = 0; generation < put; generation++) outbox.put(preview(generation, 4));
  const handedOut = outbox.take(Number.POSITIVE_INFINITY).length;
  expect(handedOut).toBeLessThan(put);
  expect(dropped).toBe(3 + put - handedOut);
});
