/** What must hold of a pool whatever happens in it. */
import { expect } from "vitest";
import { isTerminal } from "../../src/generation/generation.state.ts";
import type { Wanted } from "./scenario.ts";
import type { Simulation, Story } from "./simulation.ts";

/** Nothing was lost, and everything has ended once: the simulation refuses a change of what has ended. */
export function expectAllEnded({ stories }: Simulation, wanted: readonly Wanted[]): void {
  const open = wanted.filter(({ id }) => !isTerminal(stories.get(id)?.state ?? "QUEUED"));
  expect(open).toEqual([]);
  expect(stories.size).toBe(wanted.length);
}

/** Whatever succeeded did each of its steps; again only those for which a worker that was lost had left no checkpoint. */
export function expectNoStepRepeated({ stories }: Simulation): void {
  const succeeded = [...stories.values()].filter(({ state }) => state === "SUCCEEDED");
  const repeated = ({ stepsRun, wanted: { steps }, lost }: Story): boolean =>
    lost === 0 ? stepsRun !== steps : stepsRun < steps;
  expect(succeeded.filter(repeated)).toEqual([]);
}

/** Each end is one that what was asked for explains. */
export function expectEndsExplained({ stories }: Simulation): void {
  for (const { state, wanted, lost } of stories.values()) {
    const { isInvalid, cancelMs, deadlineMs } = wanted;
    if (state === "FAILED") expect(isInvalid).toBe(true);
    if (state === "CANCELED") expect(cancelMs ?? deadlineMs).toBeDefined();
    if (state === "EXPIRED") expect(deadlineMs).toBeDefined();
    if (state === "DEAD_LETTERED") expect(lost).toBeGreaterThanOrEqual(3);
  }
}
