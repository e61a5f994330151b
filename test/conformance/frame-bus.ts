import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BusMessage, PreviewFrame, ProgressFrame } from "../../src/progress/frame.ts";
import { type FrameBus, NEWEST_FRAME_SECONDS } from "../../src/progress/frame-bus.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** What every frame bus must do. */
export function frameBusConformance(name: string, create: (clock: FakeClock) => Promise<FrameBus>): void {
  describe(`${name} is a frame bus`, () => {
    let clock: FakeClock;
    let bus: FrameBus;

    beforeEach(async () => {
      clock = new FakeClock();
      bus = await create(clock);
    });
    afterEach(() => bus.close());

    const progress = (frame: number, attempt = 1, generationId = "one"): ProgressFrame => ({
      kind: "progress",
      generationId,
      seq: 2,
      attempt,
      frame,
      at: 0,
      stage: "DRAWING",
      stepsDone: frame,
      totalSteps: 9,
      etaMs: undefined,
    });
    const preview = (frame: number, index: number): PreviewFrame => ({
      kind: "preview",
      generationId: "one",
      seq: 2,
      attempt: 1,
      frame,
      at: 0,
      index,
      width: 8,
      height: 8,
      webp: Uint8Array.of(frame),
    });
    const collect = async (
      generationId: string,
      count: number,
    ): Promise<{ received: BusMessage[]; all: Promise<void>; leave: () => void }> => {
      const received: BusMessage[] = [];
      let done: () => void;
      const all = new Promise<void>((resolve) => {
        done = resolve;
      });
      const leave = await bus.subscribe(generationId, (message) => {
        received.push(message);
        if (received.length === count) done();
      });
      return { received, all, leave };
    };

    test("delivers what is published about a generation, in order, to every subscriber of it and to nobody else", async () => {
      const first = await collect("one", 3);
      const second = await collect("one", 3);
      const stranger = await collect("two", 1);
      const messages: BusMessage[] = [progress(1), preview(2, 0), { kind: "milestone", generationId: "one", seq: 3 }];
      for (const message of messages) bus.publish(message);
      await Promise.all([first.all, second.all]);
      expect(first.received).toEqual(messages);
      expect(second.received).toEqual(messages);
      expect(stranger.received).toEqual([]);
    });

    test("delivers nothing to those who left", async () => {
      const left = await collect("one", 1);
      const stays = await collect("one", 1);
      left.leave();
      bus.publish(progress(1));
      await stays.all;
      expect(left.received).toEqual([]);
    });

    test("keeps the newest frame of every slot for those who join late", async () => {
      const watcher = await collect("one", 5);
      for (const message of [progress(1), preview(2, 0), preview(3, 1), progress(4), preview(5, 0)])
        bus.publish(message);
      await watcher.all;
      const newest = [...(await bus.newest("one"))].sort((a, b) => a.frame - b.frame);
      expect(newest).toEqual([preview(3, 1), progress(4), preview(5, 0)]);
      expect(await bus.newest("two")).toEqual([]);
    });

    test("does not let an older frame replace a newer one", async () => {
      const watcher = await collect("one", 3);
      for (const message of [progress(3, 2), progress(7, 1), progress(2, 2)]) bus.publish(message);
      await watcher.all;
      expect(await bus.newest("one")).toEqual([progress(3, 2)]);
    });

    test("forgets frames after their time", async () => {
      const watcher = await collect("one", 1);
      bus.publish(progress(1));
      await watcher.all;
      clock.advance(NEWEST_FRAME_SECONDS * 1000 + 1);
      expect(await bus.newest("one")).toEqual([]);
    });
  });
}
