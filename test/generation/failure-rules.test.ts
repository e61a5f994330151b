import { expect, test } from "vitest";
import {
  FAILURE_RULES,
  type FailedAttempt,
  type FailureVerdict,
  judgeFailure,
  MAX_ATTEMPTS,
  MAX_EXCUSED,
  MAX_FREE,
  type PastFailures,
} from "../../src/generation/failure-rules.ts";

const judge = (change: Partial<FailedAttempt>, past: Partial<PastFailures> = {}): FailureVerdict =>
  judgeFailure(
    { failureClass: "INTERNAL", hasAdvanced: false, hadCompany: false, key: "lease", ...change },
    { counted: 0, byClass: {}, ...past },
  );

test("the third failure that counts is the last one, whatever the first two were", () => {
  for (const failureClass of ["INTERNAL", "WORKER_LOST", "WORKER_STUCK", "MODERATION_UNAVAILABLE"] as const) {
    expect(judge({ failureClass }, { counted: 1 })).toMatchObject({ counts: true, isLast: false });
    expect(judge({ failureClass }, { counted: 2 })).toMatchObject({ counts: true, isLast: true });
  }
});

test("what is nobody's failure never counts, however often it happens", () => {
  for (const failureClass of ["SERVER", "STALE_CHECKPOINT"] as const) {
    const past = { counted: 2, byClass: { [failureClass]: 100 } };
    expect(judge({ failureClass }, past), failureClass).toMatchObject({ counts: false, isLast: false });
  }
});

test("what never starts, or ends every server that runs it, counts in the end, and not for its company", () => {
  for (const failureClass of ["NOT_TAKEN", "ORPHANED"] as const) {
    const after = (times: number, counted = 0, hadCompany = false) =>
      judge({ failureClass, hadCompany }, { counted, byClass: { [failureClass]: times } });
    expect(after(MAX_FREE - 1, 2), failureClass).toMatchObject({ counts: false, isLast: false });
    expect(after(MAX_FREE)).toMatchObject({ counts: true, isLast: false });
    expect(after(MAX_FREE, MAX_ATTEMPTS - 1)).toMatchObject({ counts: true, isLast: true });
    expect(after(MAX_FREE, MAX_ATTEMPTS - 1, true)).toMatchObject({ counts: false, isLast: false });
  }
});

test("nothing follows a refusal", () => {
  for (const failureClass of ["INVALID_INPUT", "CONTENT_BLOCKED"] as const)
    expect(judge({ failureClass })).toMatchObject({ counts: false, isLast: true });
});

test("in company the failure of a worker counts for nobody", () => {
  for (const failureClass of ["INTERNAL", "WORKER_LOST", "WORKER_STUCK"] as const)
    expect(judge({ failureClass, hadCompany: true }, { counted: 2 })).toMatchObject({ counts: false, isLast: false });
  expect(judge({ failureClass: "MODERATION_UNAVAILABLE", hadCompany: true }).counts).toBe(true);
});

test("who got further is not to blame for the loss of its worker, but for an error", () => {
  expect(judge({ failureClass: "WORKER_LOST", hasAdvanced: true }).counts).toBe(false);
  expect(judge({ failureClass: "WORKER_STUCK", hasAdvanced: true }).counts).toBe(false);
  expect(judge({ failureClass: "INTERNAL", hasAdvanced: true }).counts).toBe(true);
});

test("whose workers failed again and again has no excuse any more", () => {
  const excuses = { failureClass: "WORKER_LOST", hasAdvanced: true, hadCompany: true } as const;
  const after = (count: number) => judge(excuses, { byClass: { WORKER_LOST: count - 1, INTERNAL: 1, NOT_TAKEN: 50 } });
  expect(after(MAX_EXCUSED - 1).counts).toBe(false);
  expect(after(MAX_EXCUSED).counts).toBe(true);
});

test("pauses double each time up to a maximum, and are at most a quarter longer", () => {
  for (const [repeats, least] of [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000].entries()) {
    const { pauseMs } = judge({ failureClass: "NOT_TAKEN" }, { byClass: { NOT_TAKEN: repeats } });
    expect(pauseMs).toBeGreaterThanOrEqual(least);
    expect(pauseMs).toBeLessThanOrEqual(1.25 * least);
  }
  expect(judge({}, { counted: 1 }).pauseMs).toBeGreaterThan(judge({}).pauseMs);
  const excused = { failureClass: "WORKER_LOST", hasAdvanced: true } as const;
  expect(judge(excused, { byClass: { WORKER_LOST: 5 } }).pauseMs).toBeLessThanOrEqual(1.25 * 500);
});

test("pauses of the same key are equal, of others not", () => {
  expect(judge({ key: "a" })).toEqual(judge({ key: "a" }));
  const pauses = Array.from({ length: 20 }, (_, i) => judge({ key: `${i}` }).pauseMs);
  expect(new Set(pauses).size).toBeGreaterThan(10);
});

test("only failures of a worker are held against the worker, or shared with company", () => {
  const rules = Object.entries(FAILURE_RULES);
  const named = (is: (rule: (typeof rules)[number][1]) => boolean) =>
    rules.filter(([, rule]) => is(rule)).map(([name]) => name);
  expect(named(({ worker }) => worker !== "FINE")).toEqual(["INTERNAL", "WORKER_LOST", "WORKER_STUCK", "NOT_TAKEN"]);
  expect(named(({ isShared }) => isShared)).toEqual(["INTERNAL", "WORKER_LOST", "WORKER_STUCK"]);
});
