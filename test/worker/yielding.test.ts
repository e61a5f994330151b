import { Status } from "nice-grpc";
import { describe, expect, test } from "vitest";
import { atStep, collect, expectEnd, LONG, picturesOf, requestOf, SHORT, useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();
const setup = () => workers.shared();

describe("an attempt that is asked to yield", () => {
  test("stops between two steps with a checkpoint, from which it goes on to the same bytes", async () => {
    const worker = await setup();
    const request = requestOf(LONG);
    const attempt = await collect(
      worker.generate(request),
      atStep(3, () => worker.yield(request.leaseId)),
    );
    expectEnd(attempt, "yielded");
    expect(attempt.events.slice(-2).map(({ $case }) => $case)).toEqual(["checkpoint", "yielded"]);
    const checkpoint = attempt.of("checkpoint").at(-1);
    expect(checkpoint!.stepsDone).toBeGreaterThan(3);
    expect(checkpoint!.stepsDone).toBeLessThan(LONG.steps);
    const seen = attempt.of("frame").map(({ stepsDone }) => stepsDone);
    expect(Math.max(...seen)).toBe(checkpoint!.stepsDone - 1);

    const resumed = await collect(worker.generate(requestOf(LONG, { resumeFrom: checkpoint! })));
    expectEnd(resumed, "done");
    expect(resumed.of("started")[0]).toMatchObject({ stepsDone: checkpoint!.stepsDone, totalSteps: LONG.steps });
    const steps = resumed.of("frame").map(({ stepsDone }) => stepsDone);
    expect(steps[0]).toBeGreaterThanOrEqual(checkpoint!.stepsDone);
    expect(steps.length).toBeLessThanOrEqual(1 + LONG.steps - checkpoint!.stepsDone);

    const undisturbed = await collect(worker.generate(requestOf(LONG)));
    expect(picturesOf(resumed)).toEqual(picturesOf(undisturbed));
  });

  test("at its last step finishes", async () => {
    const worker = await setup();
    const request = requestOf({ ...SHORT, steps: 1 });
    const attempt = await collect(
      worker.generate(request),
      atStep(0, () => worker.yield(request.leaseId)),
    );
    expectEnd(attempt, "done");
  });

  test("yields in time even if its stream is asked again and again", async () => {
    const worker = await setup();
    const request = requestOf(LONG);
    const attempt = await collect(
      worker.generate(request),
      atStep(1, () => Promise.all([1, 2, 3].map(() => worker.yield(request.leaseId)))),
    );
    expectEnd(attempt, "yielded");
    expect(attempt.events.slice(-2).map(({ $case }) => $case)).toEqual(["checkpoint", "yielded"]);
  });
});

describe("a request to yield is answered with NOT_FOUND", () => {
  test("when no attempt runs under the lease", async () => {
    const worker = await setup();
    await expect(worker.yield("nobody")).rejects.toMatchObject({
      code: Status.NOT_FOUND,
      details: "No attempt runs under this lease.",
    });
  });

  test("when the attempt is done", async () => {
    const worker = await setup();
    const request = requestOf(SHORT);
    await collect(worker.generate(request));
    await expect(worker.yield(request.leaseId)).rejects.toMatchObject({ code: Status.NOT_FOUND });
  });
});
