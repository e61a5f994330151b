import { expect, test } from "vitest";
import type { Task } from "../../src/generation/settings.ts";
import { fillGroups, type GroupCandidate } from "../../src/scheduler/group-filling.ts";
import { DRAWING } from "../support/drawing-settings.ts";

const SOURCE = { imageId: "a", key: "source" };
const MASK = { imageId: "b", key: "mask" };

const text = (change: object = {}): Task => ({
  kind: "TEXT_TO_IMAGE",
  settings: { ...DRAWING, prompt: "a star", ...change },
});
const edit = (change: object = {}): Task => ({
  kind: "IMAGE_EDIT",
  settings: { ...DRAWING, instruction: "make it blue", source: SOURCE, ...change },
});
const variation = (change: object = {}): Task => ({
  kind: "IMAGE_VARIATION",
  settings: { ...DRAWING, source: SOURCE, strength: 0.5, ...change },
});
const QUESTION: Task = {
  kind: "IMAGE_TO_TEXT",
  settings: { question: "What is it?", image: SOURCE, size: 96, maxTokens: 8, temperature: 0, topP: 1, seed: "0" },
};

/** Candidates in the order of the queue, named 0, 1, 2 … */
function queueOf(tasks: readonly Task[], change: (index: number) => Partial<GroupCandidate> = () => ({})) {
  return tasks.map((task, i): GroupCandidate => {
    const candidate = {
      id: `${i}`,
      tenantId: "t",
      userId: "member",
      apiKeyId: null,
      preset: "tiny",
      priority: "STANDARD",
      createdAt: new Date(i),
    } as const;
    return { ...candidate, task, isNew: true, suspicion: null, ...change(i) };
  });
}

/** Who is drawn with the first of the queue, itself included. */
function companyOf(queue: readonly GroupCandidate[], room = 8): string[] {
  const [group] = fillGroups([{ head: queue[0]!, room }], queue);
  return group!.map(({ id }) => id);
}

test.each<[string, Task, Task]>([
  [
    "prompts, seeds, scales, schedules, temperatures and counts",
    text(),
    text({ prompt: "a heart", seed: "2", guidanceScale: 5, guidanceSchedule: "LINEAR", temperature: 0.5, count: 2 }),
  ],
  ["sources", edit(), edit({ source: MASK })],
  ["instructions under one mask", edit({ mask: MASK }), edit({ mask: MASK, instruction: "a star" })],
  [
    "sources of variations without a prompt, whatever the scale",
    variation(),
    variation({ source: MASK, guidanceScale: 1 }),
  ],
])("drawings that differ in their %s are drawn together", (_, a, b) => {
  expect(companyOf(queueOf([a, b, a]))).toEqual(["0", "1", "2"]);
});

test.each<[string, Task, Task]>([
  ["widths", text(), text({ width: 48 })],
  ["heights", text(), text({ height: 48 })],
  ["numbers of steps", text(), text({ steps: 6 })],
  ["speeds", text(), text({ speed: "FAST" })],
  ["tasks", text(), edit()],
  ["guidance or none", text(), text({ guidanceScale: 1 })],
  ["masks", edit(), edit({ mask: MASK })],
  ["strengths", variation(), variation({ strength: 1 })],
  ["variations with and without a prompt", variation(), variation({ prompt: "a star" })],
])("drawings with other %s are passed over", (_, a, b) => {
  expect(companyOf(queueOf([a, b, a]))).toEqual(["0", "2"]);
});

test("classes and presets do not mix", () => {
  const tasks = [text(), text(), text()];
  expect(companyOf(queueOf(tasks, (i) => (i === 1 ? { priority: "BATCH" } : {})))).toEqual(["0", "2"]);
  expect(companyOf(queueOf(tasks, (i) => (i === 1 ? { preset: "other" } : {})))).toEqual(["0", "2"]);
});

test("an answer is alone, and so is whatever was tried before", () => {
  expect(companyOf(queueOf([QUESTION, QUESTION, text()]))).toEqual(["0"]);
  const tasks = [text(), text(), text()];
  expect(companyOf(queueOf(tasks, (i) => ({ isNew: i !== 1 })))).toEqual(["0", "2"]);
  expect(companyOf(queueOf(tasks, (i) => ({ isNew: i !== 0 })))).toEqual(["0"]);
});

test("suspects are drawn with those that they are suspected with, and with nobody else", () => {
  const tasks = [text(), text(), text(), text(), text()];
  const suspicions = ["x", null, "x", "y", "x"];
  const queue = queueOf(tasks, (i) => ({ isNew: i === 1, suspicion: suspicions[i]! }));
  expect(companyOf(queue)).toEqual(["0", "2", "4"]);
  expect(companyOf(queue.slice(1))).toEqual(["1"]);
  expect(companyOf(queue.slice(3))).toEqual(["3"]);
});

test("a group has as many pictures as there is room for, but whose turn it is has it", () => {
  const tasks = [text({ count: 2 }), text({ count: 3 }), text(), text({ count: 2 }), text()];
  expect(companyOf(queueOf(tasks), 4)).toEqual(["0", "2", "4"]);
  expect(companyOf(queueOf(tasks), 1)).toEqual(["0"]);
});

test("company is spread over the workers that have room for it", () => {
  const queue = queueOf([text(), text(), text({ steps: 6 }), text(), text(), text(), text({ steps: 6 }), text()]);
  const heads = [
    { head: queue[0]!, room: 3 },
    { head: queue[1]!, room: 4 },
    { head: queue[2]!, room: 1 },
  ];
  const ids = fillGroups(heads, queue).map((group) => group.map(({ id }) => id));
  expect(ids).toEqual([["0", "3", "5"], ["1", "4", "7"], ["2"]]);
});
