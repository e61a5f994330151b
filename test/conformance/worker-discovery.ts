import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { WorkerAddress, WorkerDiscovery } from "../../src/pool/worker-discovery.ts";
import { until } from "../support/until.ts";

export interface DiscoveryUnderTest {
  readonly discovery: WorkerDiscovery;
  /** Kills the process of a worker. */
  kill(name: string): void;
  /** Workers that the discovery found, and others run, go on when it stops. */
  readonly areOthers?: boolean;
  /** Ends what the test started. */
  dispose?(): Promise<void>;
}

/** What every worker discovery must do. */
export function workerDiscoveryConformance(name: string, create: () => Promise<DiscoveryUnderTest>): void {
  describe(`${name} discovers workers`, () => {
    let subject: DiscoveryUnderTest;
    let found: Arrivals<WorkerAddress>;
    let lost: Arrivals<string>;

    beforeEach(async () => {
      subject = await create();
      found = new Arrivals();
      lost = new Arrivals();
      await subject.discovery.start({ found: (worker) => found.push(worker), lost: (name) => lost.push(name) });
    });
    afterEach(async () => {
      await subject.discovery.stop();
      await subject.dispose?.();
    });

    test("finds a worker whose address answers, loses it when it dies, and finds the one that takes its place under another name", async () => {
      const first = await found.next();
      await untilAnswers(first.target);
      subject.kill(first.name);
      expect(await lost.next()).toBe(first.name);
      const second = await found.next();
      expect(second.name).not.toBe(first.name);
      await untilAnswers(second.target);
    });

    test("has a worker replaced that is reported stuck", async () => {
      const first = await found.next();
      await untilAnswers(first.target);
      subject.discovery.reportStuck(first.name);
      expect(await lost.next()).toBe(first.name);
      await untilAnswers((await found.next()).target);
    });

    test("ends what it started when it stops, and nothing else", async () => {
      const { target } = await found.next();
      await untilAnswers(target);
      await subject.discovery.stop();
      await expect(answers(target)).resolves.toBe(subject.areOthers === true);
    });
  });
}

class Arrivals<T> {
  private readonly items: T[] = [];
  private wake: (() => void) | undefined;

  push(item: T): void {
    this.items.push(item);
    this.wake?.();
  }

  async next(): Promise<T> {
    while (this.items.length === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.items.shift()!;
  }
}

async function untilAnswers(target: string): Promise<void> {
  await until(async () => expect(await answers(target)).toBe(true));
}

/** Whether something listens there. */
function answers(target: string): Promise<boolean> {
  const path = target.replace(/^unix:/, "");
  const [host, port] = target.split(":");
  return new Promise((resolve) => {
    const socket = target.startsWith("unix:") ? connect(path) : connect(Number(port), host);
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
