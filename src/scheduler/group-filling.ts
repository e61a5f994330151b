/**
 * Who is drawn together with a generation whose turn it is? A pure decision, like the turn itself: those that fit in
 * behind it, in the order of the queue, while there is room.
 */
import type { Task } from "../generation/settings.ts";
import type { QueueName } from "./queue-name.ts";

/** A queued generation that could start now. */
export interface GroupCandidate extends QueueName {
  readonly id: string;
  readonly preset: string;
  readonly task: Task;
  /** It was never tried before. */
  readonly isNew: boolean;
  /** It may be what made a worker fail: the same of all that this may be said of. */
  readonly suspicion: string | null;
}

/** A worker's next group: whose turn it is there, and how many pictures it may draw in company. */
export interface GroupHead<Queued> {
  readonly head: Queued;
  readonly room: number;
}

/** The group of each head, itself first. Where several groups have room for a candidate, the smallest gets it. */
export function fillGroups<Queued extends GroupCandidate>(
  heads: readonly GroupHead<Queued>[],
  queue: readonly Queued[],
): readonly (readonly Queued[])[] {
  if (queue.length === 0) return heads.map(({ head }) => [head]);
  const groups = heads.map(({ head, room }) => ({
    members: [head],
    shape: shapeOf(head),
    pictures: picturesOf(head.task),
    room,
  }));
  const taken = new Set(heads.map(({ head }) => head.id));
  for (const candidate of queue) {
    const shape = shapeOf(candidate);
    if (taken.has(candidate.id) || shape === undefined) continue;
    const pictures = picturesOf(candidate.task);
    const [group] = groups
      .filter((each) => each.shape === shape && each.pictures + pictures <= each.room)
      .sort((a, b) => a.pictures - b.pictures);
    if (group === undefined) continue;
    group.members.push(candidate);
    group.pictures += pictures;
  }
  return groups.map(({ members }) => members);
}

/**
 * Equal for generations that share every graph run from their first step to their last; pictures, prompts, seeds and
 * scales may differ. Undefined for one that is drawn alone: an answer has no steps to share, and whoever was tried
 * before goes on from another step. Suspects are drawn with those that they are suspected with and nobody else, so that they
 * fail nobody else. Classes do not mix, so that nobody is held up by the less urgent.
 */
function shapeOf({ priority, preset, isNew, suspicion, task }: GroupCandidate): string | undefined {
  if ((!isNew && suspicion === null) || task.kind === "IMAGE_TO_TEXT") return undefined;
  const { width, height, steps, speed } = task.settings;
  return JSON.stringify([
    suspicion,
    priority,
    preset,
    task.kind,
    width,
    height,
    steps,
    speed,
    isGuided(task),
    keptOf(task),
  ]);
}

/** Of one task. An answer counts as one. */
export const picturesOf = (task: Task): number => (task.kind === "IMAGE_TO_TEXT" ? 1 : task.settings.count);

type DrawingTask = Exclude<Task, { kind: "IMAGE_TO_TEXT" }>;

/** Without guidance a picture is one row of a run, with it two. */
const isGuided = ({ kind, settings }: DrawingTask): boolean =>
  settings.guidanceScale !== 1 && (kind !== "IMAGE_VARIATION" || settings.prompt !== undefined);

/** What decides how many tokens are known from the beginning. */
function keptOf({ kind, settings }: DrawingTask): string | number | undefined {
  switch (kind) {
    case "TEXT_TO_IMAGE":
      return undefined;
    case "IMAGE_EDIT":
      return settings.mask?.key;
    case "IMAGE_VARIATION":
      return settings.strength;
  }
}
