import { describe, expect, test } from "vitest";
import {
  type Attempt,
  atStep,
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

async function setup(flags: readonly string[] = []) {
  const worker = await workers.start(flags);
  return {
    worker,
    generate: (onEvent?: Parameters<typeof collect>[1]) => collect(worker.generate(requestOf(LONG)), onEvent),
  };
}

describe("SIGTERM", () => {
  test("lets the running attempt yield; the process ends with 0, and another one goes on to the same bytes", async () => {
    const { worker, generate } = await setup();
    const attempt = await generate(atStep(2, () => worker.child.kill("SIGTERM")));
    expectEnd(attempt, "yielded");
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(worker.errorOutput()).toBe("");

    const another = await workers.shared();
    const checkpoint = attempt.of("checkpoint").at(-1);
    const resumed = await collect(another.generate(requestOf(LONG, { resumeFrom: checkpoint! })));
    expectEnd(resumed, "done");
    expect(resumed.of("started")[0]!.stepsDone).toBe(checkpoint!.stepsDone);
    const undisturbed = await collect(another.generate(requestOf(LONG)));
    expect(picturesOf(resumed)).toEqual(picturesOf(undisturbed));
  });

  test("lets every running attempt yield, and no other one begin", async () => {
    const { worker, generate } = await setup(["--slots", "3"]);
    let refused: Attempt | undefined;
    const stop = async () => {
      const statuses = worker.watchHealth()[Symbol.asyncIterator]();
      expect((await statuses.next()).value).toBe("SERVING");
      worker.child.kill("SIGTERM");
      expect((await statuses.next()).value).toBe("NOT_SERVING");
      refused = await generate();
    };
    for (const attempt of await Promise.all([generate(), generate(atStep(2, stop))])) expectEnd(attempt, "yielded");
    expect(codeOf(refused!)).toBe("UNAVAILABLE");
    expect(refused!.events).toEqual([]);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });

  test("lets an attempt that is being decoded finish", async () => {
    const { worker } = await setup();
    const attempt = await collect(
      worker.generate(requestOf({ ...SHORT, count: 4 })),
      atStep(SHORT.steps, () => worker.child.kill("SIGTERM")),
    );
    expectEnd(attempt, "done");
    expect(attempt.of("image")).toHaveLength(4);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });
});

test("SIGKILL in the middle of an attempt is UNAVAILABLE to its caller", async () => {
  const { worker, generate } = await setup();
  const attempt = await generate(atStep(2, () => worker.child.kill("SIGKILL")));
  expect(codeOf(attempt)).toBe("UNAVAILABLE");
});

describe("the end of standard input", () => {
  test("kills a worker that was told so, at once, in the middle of an attempt", async () => {
    const { worker, generate } = await setup(["--ends-with-stdin"]);
    const attempt = await generate(atStep(2, () => worker.child.stdin!.end()));
    expect(await worker.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(codeOf(attempt)).toBe("UNAVAILABLE");
    expect(attempt.of("image")).toEqual([]);
  });
});

test("neither SIGINT, which is the parent's business, nor the end of standard input disturb any other worker", async () => {
  const worker = await workers.shared();
  const attempt = await collect(
    worker.generate(requestOf(SHORT)),
    atStep(1, () => {
      worker.child.kill("SIGINT");
      worker.child.stdin!.end();
    }),
  );
  expectEnd(attempt, "done");
  expectEnd(await collect(worker.generate(requestOf(SHORT))), "done");
});
