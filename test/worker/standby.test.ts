import { Status } from "nice-grpc";
import { describe, expect, test } from "vitest";
import type { Group } from "../../proto/gen/inference/v1/inference.ts";
import type { WorkerProcess } from "../support/worker-process.ts";
import {
  type Attempt,
  type AttemptEvent,
  atStep,
  attemptOf,
  codeOf,
  collect,
  expectEnd,
  LONG,
  picturesOf,
  requestOf,
  SHORT,
  useTinyWorkers,
} from "./attempts.ts";

const workers = useTinyWorkers();
const HEART = { ...SHORT, prompt: "an orange diamond above a pink heart", seed: 9n };
const STAR = { ...SHORT, prompt: "two stars", seed: 8n };

let lastGroup = 0;
const standby = (size = 1): { group: Group } => ({ group: { id: `standby-${++lastGroup}`, size, standby: true } });

/** Runs LONG and `act` at its second step; what `act` gives, and everything that happened, in its order. */
async function during<T>(
  worker: WorkerProcess,
  act: (log: Log) => T,
): Promise<{ result: Awaited<T>; running: Attempt; log: Log }> {
  const log: Log = [];
  let result: Promise<Awaited<T>> | undefined;
  const begin = atStep(2, () => {
    result = Promise.resolve(act(log));
  });
  const running = await collect(worker.generate(requestOf(LONG)), (event) => {
    log.push({ of: "running", event });
    begin(event);
  });
  return { result: await result!, running, log };
}
type Log = { readonly of: string; readonly event: AttemptEvent }[];

/** Waits until the worker knows the attempt. */
async function yieldOnce(worker: WorkerProcess, leaseId: string): Promise<void> {
  for (;;) {
    const error = await worker.yield(leaseId).then(
      () => undefined,
      (reason) => reason,
    );
    if (error?.code !== Status.NOT_FOUND) return error && Promise.reject(error);
  }
}

const stepsOf = (log: Log): number =>
  Math.max(0, ...log.map(({ of, event }) => (of === "running" && event.$case === "frame" ? event.value.stepsDone : 0)));

describe("an attempt on standby", () => {
  test("starts when what runs has ended, unasked, and draws what it draws alone", async () => {
    const worker = await workers.shared();
    expect(await worker.describe()).toMatchObject({ slots: 1, standby: 1 });
    const { result, running, log } = await during(worker, (all) =>
      collect(worker.generate(requestOf(HEART, standby())), (event) => all.push({ of: "next", event })),
    );
    expectEnd(running, "done");
    expectEnd(result, "done");
    const firstOfNext = log.findIndex(({ of }) => of === "next");
    expect(log[firstOfNext]!.event.$case).toBe("started");
    expect(stepsOf(log.slice(0, firstOfNext))).toBe(LONG.steps);
    const alone = await collect(worker.generate(requestOf(HEART)));
    expect(picturesOf(result)).toEqual(picturesOf(alone));
  });

  test("starts at once when nothing runs", async () => {
    const worker = await workers.shared();
    expectEnd(await collect(worker.generate(requestOf(SHORT, standby()))), "done");
  });

  test("may be a group, which starts together when all slots are free", async () => {
    const worker = await workers.shared(["--slots", "2"]);
    const two = standby(2);
    const { result, log } = await during(worker, (all) =>
      Promise.all(
        [HEART, STAR].map((task) =>
          collect(worker.generate(requestOf(task, two)), (event) => all.push({ of: "next", event })),
        ),
      ),
    );
    for (const attempt of result) {
      expectEnd(attempt, "done");
      expect(attempt.of("started")[0]!.recipe!.groupSize).toBe(2);
    }
    expect(
      stepsOf(
        log.slice(
          0,
          log.findIndex(({ of }) => of === "next"),
        ),
      ),
    ).toBe(LONG.steps);
  });

  test("that is asked to yield ends at once with nothing else, and leaves its place to another", async () => {
    const worker = await workers.shared();
    const { result, running } = await during(worker, async (log) => {
      const request = requestOf(HEART, standby());
      const attempt = collect(worker.generate(request));
      await yieldOnce(worker, request.leaseId);
      const yielded = await attempt;
      return { yielded, at: stepsOf(log), next: await collect(worker.generate(requestOf(STAR, standby()))) };
    });
    expect(result.yielded.events.map(({ $case }) => $case)).toEqual(["yielded"]);
    expect(result.at).toBeLessThan(LONG.steps);
    for (const attempt of [running, result.next]) expectEnd(attempt, "done");
  });

  test("that is hung up on computes nothing, and leaves its place to another", async () => {
    const worker = await workers.shared();
    const { result } = await during(worker, async () => {
      const controller = new AbortController();
      const request = requestOf(HEART, standby());
      const attempt = collect(worker.generate(request, controller.signal));
      const isKnown = async () => codeOf(await collect(worker.generate(request))) === "INVALID_ARGUMENT"; // its lease is taken
      while (!(await isKnown()));
      controller.abort();
      const cancelled = await attempt;
      const next = standby();
      let another = await collect(worker.generate(requestOf(STAR, next)));
      while (codeOf(another) === "RESOURCE_EXHAUSTED") another = await collect(worker.generate(requestOf(STAR, next)));
      return { cancelled, another };
    });
    expect(result.cancelled.events).toEqual([]);
    expectEnd(result.another, "done");
  });

  test("that cannot be served is refused before its turn", async () => {
    const worker = await workers.shared();
    const { prompt: _, ...drawing } = SHORT;
    const edit = { instruction: "make it blue", drawing, source: Buffer.from("no picture"), mask: Buffer.of() };
    const { result, running } = await during(worker, async (log) => {
      const refused = await collect(
        worker.generate({ ...attemptOf({ $case: "imageEdit", value: edit }), ...standby() }),
      );
      return { refused, at: stepsOf(log) };
    });
    expect(codeOf(result.refused)).toBe("INVALID_ARGUMENT");
    expect(result.at).toBeLessThan(LONG.steps);
    expectEnd(running, "done");
  });

  test("yields with what runs when the worker is told to stop", async () => {
    const worker = await workers.start();
    const { result, running } = await during(worker, async () => {
      const request = requestOf(HEART, standby());
      const attempt = collect(worker.generate(request));
      while (codeOf(await collect(worker.generate(request))) !== "INVALID_ARGUMENT"); // until it is known
      worker.child.kill("SIGTERM");
      return attempt;
    });
    expectEnd(running, "yielded");
    expect(running.of("checkpoint").length).toBeGreaterThan(0);
    expect(result.events.map(({ $case }) => $case)).toEqual(["yielded"]);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });
});

describe("an attempt is refused for want of a place", () => {
  test("beside another group on standby, or more attempts of its own than there are slots", async () => {
    const worker = await workers.shared();
    const { result } = await during(worker, async () => {
      const first = standby(2);
      const waiting = requestOf(HEART, first);
      const attempt = collect(worker.generate(waiting));
      while (codeOf(await collect(worker.generate(waiting))) !== "INVALID_ARGUMENT"); // until it is known
      const others = await Promise.all(
        [first, standby(), {}].map((group) => collect(worker.generate(requestOf(STAR, group)))),
      );
      return { others, attempt: await attempt };
    });
    expect(result.others.map(codeOf)).toEqual(["RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]);
    expectEnd(result.attempt, "done");
  });

  test("by a worker that takes none on standby", async () => {
    const worker = await workers.start(["--standby", "0"]);
    expect((await worker.describe()).standby).toBe(0);
    const { result } = await during(worker, () => collect(worker.generate(requestOf(HEART, standby()))));
    expect(codeOf(result)).toBe("RESOURCE_EXHAUSTED");
  });
});
