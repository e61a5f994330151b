import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type {
  BusMessage,
  Frame,
  MilestoneHint,
  PreviewFrame,
  ProgressFrame,
  TextFrame,
} from "../../src/progress/frame.ts";
import { type FrameBus, NEWEST_FRAME_SECONDS } from "../../src/progress/frame-bus.ts";

export interface FrameBusUnderTest {
  /** Of the process that dispatches. */
  readonly publisher: FrameBus;
  /** Of a process that serves the API: the same one where the bus is for one process. */
  readonly watcher: FrameBus;
  /** Lets time pass for what the bus keeps. */
  pass(ms: number): Promise<void>;
  close(): Promise<void>;
}

/** What every frame bus must do. */
export function frameBusConformance(name: string, create: () => Promise<FrameBusUnderTest>): void {
  describe(`${name} is a frame bus`, () => {
    let subject: FrameBusUnderTest;
    let bus: FrameBus;
    let watcher: FrameBus;

    beforeEach(async () => {
      subject = await create();
      bus = subject.publisher;
      watcher = subject.watcher;
    });
    afterEach(() => subject.close());

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
      webp: Uint8Array.of(frame, 10, 13, 0),
    });
    const text = (frame: number, words: string): TextFrame => ({
      kind: "text",
      generationId: "one",
      seq: 2,
      attempt: 1,
      frame,
      at: 0,
      text: words,
    });
    const end = (generationId = "one"): MilestoneHint => ({ kind: "milestone", generationId, seq: 3 });
    /** Collects what is heard up to `end`. */
    const collect = async (
      generationId: string,
    ): Promise<{ received: BusMessage[]; all: Promise<void>; leave: () => void }> => {
      const received: BusMessage[] = [];
      let done: () => void;
      const all = new Promise<void>((resolve) => {
        done = resolve;
      });
      const leave = await watcher.subscribe(generationId, (message) => {
        received.push(message);
        if (message.kind === "milestone") done();
      });
      return { received, all, leave };
    };
    /** Publishes all at once, and waits until it is heard. */
    const publish = async (messages: readonly BusMessage[]): Promise<readonly BusMessage[]> => {
      const { received, all, leave } = await collect("one");
      for (const message of [...messages, end()]) bus.publish(message);
      await all;
      leave();
      return received;
    };
    const inOrder = (frames: readonly Frame[]): Frame[] => [...frames].sort((a, b) => a.frame - b.frame);

    test("delivers what is published about a generation, in order, to every subscriber of it and to nobody else", async () => {
      const first = await collect("one");
      const second = await collect("one");
      const stranger = await collect("two");
      const messages: BusMessage[] = [progress(1), preview(2, 0), text(3, "a red circle, für dich"), end()];
      for (const message of [...messages, end("two")]) bus.publish(message);
      await Promise.all([first.all, second.all, stranger.all]);
      expect(first.received).toEqual(messages);
      expect(second.received).toEqual(messages);
      expect(stranger.received).toEqual([end("two")]);
    });

    test("delivers nothing to those who left, and all to those who stay or come back", async () => {
      const left = await collect("one");
      const stays = await collect("one");
      left.leave();
      bus.publish(end());
      await stays.all;
      stays.leave();
      const back = await collect("one");
      bus.publish(end());
      await back.all;
      expect(left.received).toEqual([]);
      expect(stays.received).toEqual([end()]);
      expect(back.received).toEqual([end()]);
    });

    test("keeps the newest frame of every slot for those who join late", async () => {
      await publish([
        progress(1),
        preview(2, 0),
        preview(3, 1),
        progress(4),
        preview(5, 0),
        text(6, "a"),
        text(7, "ab"),
      ]);
      expect(inOrder(await watcher.newest("one"))).toEqual([preview(3, 1), progress(4), preview(5, 0), text(7, "ab")]);
      expect(await watcher.newest("two")).toEqual([]);
    });

    test("does not let an older frame replace a newer one", async () => {
      for (const frame of [progress(3, 2), progress(7, 1), progress(2, 2)]) await publish([frame]);
      expect(await watcher.newest("one")).toEqual([progress(3, 2)]);
    });

    test("carries a frame's figures, known or unknown, and every byte of a picture", async () => {
      const webp = Uint8Array.from({ length: 24 * 1024 }, (_, i) => i % 256);
      const frames = [
        { ...progress(1), etaMs: 1500.5 },
        { ...preview(2, 0), webp },
      ];
      expect(await publish(frames)).toEqual([...frames, end()]);
      expect(inOrder(await watcher.newest("one"))).toEqual(frames);
    });

    test("delivers the newest of a flood, in order, and to others meanwhile", async () => {
      const quiet = await collect("two");
      const flooded = await collect("one");
      for (let frame = 1; frame <= 20_000; frame++) bus.publish(preview(frame, frame % 2));
      bus.publish(end("two"));
      bus.publish(end());
      await Promise.all([quiet.all, flooded.all]);
      const frames = flooded.received.filter((message) => message.kind === "preview");
      expect(frames.slice(-2)).toEqual([preview(19_999, 1), preview(20_000, 0)]);
      expect(inOrder(frames)).toEqual(frames);
      expect(inOrder(await watcher.newest("one"))).toEqual([preview(19_999, 1), preview(20_000, 0)]);
    });

    test("forgets frames after their time, and not before", async () => {
      await publish([progress(1)]);
      await subject.pass(NEWEST_FRAME_SECONDS * 1000 - 5000);
      expect(await watcher.newest("one")).toEqual([progress(1)]);
      await publish([preview(2, 0)]);
      await subject.pass(NEWEST_FRAME_SECONDS * 1000 - 5000);
      expect(inOrder(await watcher.newest("one"))).toEqual([progress(1), preview(2, 0)]);
      await subject.pass(5001);
      expect(await watcher.newest("one")).toEqual([]);
    });
  });
}
