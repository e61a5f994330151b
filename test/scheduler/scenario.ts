/** What tenants ask of a simulated pool, from a seed, and how what they got is judged. */
import type { Priority } from "../../src/generated/prisma/enums.ts";
import type { Task } from "../../src/generation/settings.ts";
import { DRAWING } from "../support/drawing-settings.ts";

/** The virtual time 0. */
export const EPOCH_MS = Date.UTC(2026, 0, 1);

/** A generation that will be asked for. */
export interface Wanted {
  /** Later ones have higher ids. */
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly priority: Priority;
  readonly preset: string;
  /** Of its tenant. */
  readonly weight: number;
  readonly arrivesAt: number;
  /** Milliseconds on a worker, when it is alone. */
  readonly serviceMs: number;
  readonly steps: number;
  /** After its arrival: a deadline, and a cancellation. */
  readonly deadlineMs?: number;
  readonly cancelMs?: number;
  /** The model refuses it. */
  readonly isInvalid?: boolean;
}

/** Uniform in [0, 1), by a seed: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

let ids = 0;

/** In the form of those of the database, and in the order in which they are made. */
const nextId = (): string => `00000000-0000-7000-8000-${String(++ids).padStart(12, "0")}`;

/** `count` generations of a member, `everyMs` apart. */
export function wantedBy(
  who: Partial<Wanted> & { readonly tenantId: string },
  {
    count,
    from = 0,
    everyMs = 0,
    serviceMs = 100,
  }: { count: number; from?: number; everyMs?: number; serviceMs?: number | (() => number) },
): Wanted[] {
  return Array.from({ length: count }, (_, i) => ({
    userId: `${who.tenantId}-member`,
    apiKeyId: null,
    priority: "STANDARD",
    preset: "tiny",
    weight: 1,
    steps: 10,
    ...who,
    id: nextId(),
    arrivesAt: Math.round(from + i * everyMs),
    serviceMs: typeof serviceMs === "number" ? serviceMs : serviceMs(),
  }));
}

/** Who asks in a mixed scenario: members of tenants. */
export interface Asker {
  readonly tenantId: string;
  readonly userId: string;
  readonly weight: number;
}

/** Everything at once: classes, sizes, cancellations, deadlines, and what the model refuses. Bursts make queues. */
export function mixed(
  askers: readonly Asker[],
  { count, overMs, seed }: { count: number; overMs: number; seed: number },
): Wanted[] {
  const random = randomFrom(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const times = Array.from({ length: count }, () =>
    Math.round((overMs * Math.floor(random() * 20)) / 20 + random() * 50),
  );
  return times
    .sort((a, b) => a - b)
    .map((arrivesAt) => ({
      ...pick(askers),
      id: nextId(),
      apiKeyId: null,
      priority: pick(["INTERACTIVE", "STANDARD", "STANDARD", "BATCH", "BATCH"] as const),
      preset: "tiny",
      arrivesAt,
      steps: pick([4, 10, 20]),
      serviceMs: 20 + Math.round(180 * random()),
      ...(random() < 0.05 ? { cancelMs: Math.round(400 * random()) } : {}),
      ...(random() < 0.05 ? { deadlineMs: 100 + Math.round(2000 * random()) } : {}),
      ...(random() < 0.03 ? { isInvalid: true } : {}),
    }));
}

const tasks = new Map<number, Task>();

/** Equal work has equal tasks. */
export function taskOf({ steps }: Pick<Wanted, "steps">): Task {
  const task = tasks.get(steps) ?? { kind: "TEXT_TO_IMAGE", settings: { ...DRAWING, steps, prompt: "" } };
  tasks.set(steps, task);
  return task;
}

/** Milliseconds of service of a tenant. */
export interface Service {
  readonly tenantId: string;
  readonly from: number;
  readonly to: number;
}

/** In the order in which it ended; by columns, as there may be a million. */
export class ServiceLog implements Iterable<Service> {
  private readonly tenantIds: string[] = [];
  private readonly begins: number[] = [];
  private readonly ends: number[] = [];

  add({ tenantId, from, to }: Service): void {
    this.tenantIds.push(tenantId);
    this.begins.push(from);
    this.ends.push(to);
  }

  *[Symbol.iterator](): Iterator<Service> {
    for (const [i, tenantId] of this.tenantIds.entries())
      yield { tenantId, from: this.begins[i] ?? 0, to: this.ends[i] ?? 0 };
  }
}

/** Milliseconds of service of each tenant in a window of time. */
export function serviceIn(
  { service }: { readonly service: Iterable<Service> },
  { from, to }: { from: number; to: number },
): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const each of service) {
    const ms = Math.min(each.to, to) - Math.max(each.from, from);
    if (ms > 0) sums[each.tenantId] = (sums[each.tenantId] ?? 0) + ms;
  }
  return sums;
}

/** Jain's index of fairness: 1 when all are equal, 1 / n when one has everything. */
export function jain(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0);
  return sum ** 2 / (values.length * values.reduce((total, value) => total + value ** 2, 0));
}
