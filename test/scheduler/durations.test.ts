import { describe, expect, test } from "vitest";
import type { DrawingSettings } from "../../src/generation/settings.ts";
import { asDispatcher } from "../../src/platform/access.ts";
import { listDurations, saveDurations } from "../../src/scheduler/duration.store.ts";
import { Durations, MAX_KNOWN, type PredictedWork } from "../../src/scheduler/durations.ts";
import { DRAWING } from "../support/drawing-settings.ts";
import { databasesHere } from "../support/test-database.ts";

const drawing = (settings: Partial<DrawingSettings> = {}, groupPictures = 1): PredictedWork => ({
  preset: "tiny",
  task: { kind: "TEXT_TO_IMAGE", settings: { ...DRAWING, prompt: "a red circle", ...settings } },
  groupPictures,
});

const reading: PredictedWork = {
  preset: "tiny",
  task: {
    kind: "IMAGE_TO_TEXT",
    settings: {
      question: "what",
      image: { imageId: "0", key: "" },
      size: 96,
      maxTokens: 64,
      temperature: 0,
      topP: 1,
      seed: "0",
    },
  },
  groupPictures: 1,
};

describe("durations", () => {
  test("are expected as they were, each kind of work by itself", () => {
    const durations = new Durations();
    durations.learn(drawing(), 1000);
    durations.learn(drawing({}, 4), 300);
    expect(durations.predict(drawing())).toBe(1000);
    expect(durations.predict(drawing({}, 4))).toBe(300);
    durations.learn(drawing(), 2000);
    durations.learn(drawing(), 1400);
    expect(durations.predict(drawing())).toBe(1200); // without the longest
    for (let i = 0; i < 10; i++) durations.learn(drawing(), 500);
    expect(durations.predict(drawing())).toBe(500);
  });

  test("of what never ran follow the rate of the same task with the same preset", () => {
    const durations = new Durations();
    durations.learn(reading, 9_000_000);
    durations.learn(drawing({ steps: 10 }), 1000);
    expect(durations.predict(drawing({ steps: 20 }))).toBeCloseTo(2000);
    expect(durations.hasLearned(drawing({ steps: 20 }))).toBe(true);
    expect(durations.hasLearned({ ...drawing(), preset: "another" })).toBe(false);
  });

  test("are known of as many kinds of work as there is room for", () => {
    const durations = new Durations();
    durations.learn(drawing({ steps: 1 }), 77_000);
    for (let steps = 2; steps <= MAX_KNOWN; steps++) durations.learn(drawing({ steps }), steps);
    expect(durations.predict(drawing({ steps: 1 }))).toBeLessThan(77_000);
    expect(durations.predict(drawing({ steps: 2 }))).toBe(2);
    expect(durations.takeLearned().length).toBeLessThanOrEqual(MAX_KNOWN);
  });
});

describe.each(databasesHere())("durations in $name", ({ create }) => {
  test("are kept, those that were learned last, and what was learned here since is newer", async () => {
    const { db, close } = await create();
    const save = (learned: readonly { key: string; ms: number }[]) =>
      db.transaction(asDispatcher, (tx) => saveDurations(tx, { pool: "a", learned, max: 2 }));
    await save([{ key: "old", ms: 1 }]);
    await db.transaction(
      asDispatcher,
      (tx) => tx.$executeRaw`update learned_duration set learned_at = now() - interval '1 minute'`,
    );
    const durations = new Durations();
    durations.learn(drawing(), 1000);
    await save(durations.takeLearned());
    const stored = await db.transaction(asDispatcher, (tx) => listDurations(tx, "a"));
    expect(stored.map(({ key }) => key)).not.toContain("old");
    expect(stored).toHaveLength(2);

    const next = new Durations();
    next.restore(stored);
    expect(next.predict(drawing())).toBe(1000);
    const newer = new Durations();
    newer.learn(drawing(), 5);
    newer.restore(stored);
    expect(newer.predict(drawing())).toBe(5);
    expect(await db.transaction(asDispatcher, (tx) => listDurations(tx, "another"))).toEqual([]);
    await close();
  });
});
