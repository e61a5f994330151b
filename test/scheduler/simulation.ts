/**
 * A pool in virtual time: arrivals, workers and their deaths, yields, cancellations and deadlines come from a seed, all
 * decisions from the scheduler. What the dispatcher does with streams and timers, this does with an agenda; nothing waits for
 * a real clock.
 */
import type { GenerationState, Priority } from "../../src/generated/prisma/enums.ts";
import { isTerminal, mayFollow } from "../../src/generation/generation.state.ts";
import { groupsToYield, type RunningMember } from "../../src/scheduler/preemption.ts";
import { NOWHERE, type Tagged, TagHeap } from "../../src/scheduler/tag-heap.ts";
import { EPOCH_MS, ServiceLog, type Wanted } from "./scenario.ts";
import type { AttemptEnd, Begun, World } from "./world.ts";

/** A worker dies when so much of what it runs is done, and is back after a while. */
export interface Death {
  readonly after: number;
  readonly backMs: number;
}

export interface SimulationOptions {
  readonly workers: number;
  /** Of each worker. */
  readonly slots?: number;
  /** By the number of a worker; `tiny` unless told otherwise. */
  readonly presets?: (worker: number) => readonly string[];
  readonly ageingMs?: number;
  /** Whether its worker dies in this attempt of a generation. */
  readonly dies?: (wanted: Wanted, attempt: number) => Death | undefined;
  /** Before another attempt of what was lost. */
  readonly pauseMs?: number;
  /** Steps between two checkpoints; none unless it yields. */
  readonly checkpointSteps?: number;
  /** After which nothing more is looked at. */
  readonly until?: number;
}

/** What became of a generation. */
export interface Story {
  readonly wanted: Wanted;
  state: GenerationState;
  attempts: number;
  firstStartAt: number | undefined;
  endedAt: number | undefined;
  /** Steps that its newest checkpoint holds. */
  stepsDone: number;
  /** Steps that workers did for it, in all attempts. */
  stepsRun: number;
  /** Attempts that were lost, and those that yielded. */
  lost: number;
  yields: number;
}

interface Running {
  readonly begun: Begun;
  readonly story: Story;
  readonly from: number;
  isAskedToYield: boolean;
}

/** What a worker runs. */
interface Run {
  readonly worker: Worker;
  readonly beganAt: number;
  readonly stepMs: number;
  readonly members: Running[];
  end: Agenda;
}

interface Worker {
  readonly name: string;
  readonly presets: readonly string[];
  readonly slots: number;
  isIdle: boolean;
}

type Agenda = Tagged & { readonly act: () => void | Promise<void> };

/** What each more of a group costs, of the time of one alone. */
const COMPANY_COST = 0.5;

export class Simulation {
  readonly stories = new Map<string, Story>();
  /** In their order; by columns, as there may be a million. */
  readonly starts: { readonly ids: string[]; readonly at: number[]; readonly stepsDone: number[] } = {
    ids: [],
    at: [],
    stepsDone: [],
  };
  readonly service = new ServiceLog();
  now = 0;
  private readonly agenda = new TagHeap<Agenda>();
  private readonly arrivals: readonly Wanted[];
  private arrived = 0;
  private readonly workers: ReadonlyMap<string, Worker>;
  private readonly runs = new Map<Worker, Run>();
  /** Of generations that run, and of those that run as BATCH. */
  private readonly running = new Map<string, Run>();
  private batches = 0;
  private count = 0;

  constructor(
    wanted: readonly Wanted[],
    private readonly world: World,
    private readonly options: SimulationOptions,
  ) {
    const { workers, slots = 1, presets = () => ["tiny"] } = options;
    this.arrivals = wanted.toSorted((a, b) => a.arrivesAt - b.arrivesAt || (a.id < b.id ? -1 : 1));
    this.workers = new Map(
      Array.from({ length: workers }, (_, i) => {
        const name = `worker-${i}`;
        return [name, { name, presets: presets(i), slots, isIdle: true }];
      }),
    );
  }

  async run(): Promise<this> {
    const { until = Number.POSITIVE_INFINITY } = this.options;
    for (let time = this.nextTime(); time <= until && time < Number.POSITIVE_INFINITY; time = this.nextTime()) {
      this.now = time;
      for (let next = this.arrivals[this.arrived]; next?.arrivesAt === time; next = this.arrivals[++this.arrived])
        await this.arrive(next);
      for (let next = this.agenda.first(); next?.tag === time; next = this.agenda.first()) {
        this.agenda.remove(next);
        const acting = next.act();
        if (acting !== undefined) await acting;
      }
      await this.claim();
      if (this.batches > 0) await this.makeRoom();
    }
    return this;
  }

  /** Those that have ended, in that order. */
  get ended(): readonly (Wanted & { readonly firstStartAt: number; readonly endedAt: number })[] {
    return [...this.stories.values()]
      .flatMap(({ wanted, firstStartAt = Number.NaN, endedAt }) => {
        return endedAt === undefined ? [] : [{ ...wanted, firstStartAt, endedAt }];
      })
      .sort((a, b) => a.endedAt - b.endedAt);
  }

  get makespan(): number {
    let latest = 0;
    for (const { to } of this.service) latest = Math.max(latest, to);
    return latest;
  }

  private nextTime(): number {
    const { arrivesAt = Number.POSITIVE_INFINITY } = this.arrivals[this.arrived] ?? {};
    return Math.min(arrivesAt, this.agenda.first()?.tag ?? Number.POSITIVE_INFINITY);
  }

  private async arrive(wanted: Wanted): Promise<void> {
    const { id, cancelMs, deadlineMs } = wanted;
    const story: Story = {
      wanted,
      state: "QUEUED",
      attempts: 0,
      firstStartAt: undefined,
      endedAt: undefined,
      stepsDone: 0,
      stepsRun: 0,
      lost: 0,
      yields: 0,
    };
    if (this.stories.has(id)) throw new Error(`${id} is asked for twice`);
    this.stories.set(id, story);
    await this.world.queue(wanted);
    if (cancelMs !== undefined) this.at(this.now + cancelMs, () => this.stop(story, "CANCELED"));
    if (deadlineMs !== undefined) this.at(this.now + deadlineMs, () => this.stop(story, "EXPIRED"));
  }

  private async claim(): Promise<void> {
    const idle: Worker[] = [];
    for (const worker of this.workers.values()) if (worker.isIdle) idle.push(worker);
    if (idle.length === 0) return;
    for (const group of await this.world.claim(idle, this.now)) this.begin(group);
  }

  private begin(group: readonly Begun[]): void {
    const worker = this.workers.get(group[0]?.worker ?? "");
    if (worker?.isIdle !== true) throw new Error(`worker ${group[0]?.worker} is not idle`);
    worker.isIdle = false;
    const members = group.map((begun): Running => {
      const story = this.storyOf(begun.id);
      this.move(story, "RUNNING");
      story.attempts++;
      story.firstStartAt ??= this.now;
      if (story.wanted.priority === "BATCH") this.batches++;
      this.starts.ids.push(begun.id);
      this.starts.at.push(this.now);
      this.starts.stepsDone.push(story.stepsDone);
      return { begun, story, from: story.stepsDone, isAskedToYield: false };
    });
    const alone = Math.max(...members.map(({ story }) => story.wanted.serviceMs / story.wanted.steps));
    const stepMs = alone * (1 + COMPANY_COST * (members.length - 1));
    const steps = Math.max(...members.map(({ story, from }) => story.wanted.steps - from));
    const [first] = members;
    const death = first && this.options.dies?.(first.story.wanted, first.story.attempts);
    const run: Run = {
      worker,
      beganAt: this.now,
      stepMs,
      members,
      end: { id: "", tag: 0, place: NOWHERE, act: () => {} },
    };
    const ms = steps * stepMs;
    run.end =
      death === undefined
        ? this.at(this.now + ms, () => this.finish(run, steps))
        : this.at(this.now + ms * death.after, () => this.lose(run, death));
    this.runs.set(worker, run);
    for (const { begun } of members) this.running.set(begun.id, run);
  }

  /** All have done their steps. */
  private async finish(run: Run, steps: number): Promise<void> {
    for (const member of [...run.members]) {
      const { story, from } = member;
      const outcome = story.wanted.isInvalid ? "REFUSED" : from + steps < story.wanted.steps ? "YIELDED" : "DONE";
      await this.leave(run, member, { outcome, steps });
    }
    run.worker.isIdle = true;
  }

  private async lose(run: Run, { backMs }: Death): Promise<void> {
    const steps = this.stepsOf(run);
    for (const member of [...run.members]) await this.leave(run, member, { outcome: "LOST", steps });
    this.at(this.now + backMs, () => {
      run.worker.isIdle = true;
    });
  }

  /** Canceled, or its deadline passes. */
  private async stop(story: Story, state: "CANCELED" | "EXPIRED"): Promise<void> {
    if (isTerminal(story.state)) return;
    if (story.state === "QUEUED") {
      await this.world.drop(story.wanted, state);
      this.move(story, state);
      return;
    }
    const run = this.running.get(story.wanted.id);
    const member = run?.members.find(({ begun }) => begun.id === story.wanted.id);
    if (run === undefined || member === undefined) throw new Error(`${story.wanted.id} runs nowhere`);
    await this.leave(run, member, { outcome: "CANCELED", steps: this.stepsOf(run) });
    if (run.members.length > 0) return;
    this.agenda.remove(run.end);
    run.worker.isIdle = true;
  }

  /** The attempt of a member is over. */
  private async leave(
    run: Run,
    member: Running,
    { outcome, steps }: { outcome: AttemptEnd["outcome"]; steps: number },
  ): Promise<void> {
    const { begun, story, from } = member;
    run.members.splice(run.members.indexOf(member), 1);
    if (run.members.length === 0) this.runs.delete(run.worker);
    this.running.delete(begun.id);
    if (story.wanted.priority === "BATCH") this.batches--;
    const heldMs = this.now - run.beganAt;
    this.service.add({ tenantId: story.wanted.tenantId, from: run.beganAt, to: this.now });
    const did = Math.min(from + steps, story.wanted.steps);
    const { checkpointSteps = Number.POSITIVE_INFINITY } = this.options;
    const kept = outcome === "LOST" ? Math.max(from, did - (did % checkpointSteps)) : did;
    story.stepsRun += did - from;
    const counts = kept === from;
    const isWhole = outcome === "DONE" && from === 0;
    story.stepsDone = kept;
    if (outcome === "LOST") story.lost++;
    if (outcome === "YIELDED") story.yields++;
    const ended = this.world.end(begun, { outcome, stepsDone: kept, heldMs, isWhole, counts });
    const state = typeof ended === "string" ? ended : await ended;
    this.move(story, state);
    if (outcome === "LOST" && state === "QUEUED") this.pause(story.wanted);
  }

  private pause(wanted: Wanted): void {
    const { pauseMs = 0 } = this.options;
    const { pauses } = this.world;
    if (pauseMs === 0 || pauses === undefined) return;
    pauses.begin(wanted);
    this.at(this.now + pauseMs, () => pauses.end(wanted));
  }

  /** As the dispatcher does after each claim: BATCH that runs gives way to what waits. */
  private async makeRoom(): Promise<void> {
    const groups = [...this.runs.values()].map((run) => {
      const done = this.stepsOf(run);
      return run.members.map((member): RunningMember & { readonly run: Run; readonly member: Running } => ({
        run,
        member,
        priority: member.story.wanted.priority as Priority,
        createdAt: new Date(EPOCH_MS + member.story.wanted.arrivesAt),
        stepsLeft: member.story.wanted.steps - member.from - done,
        isAskedToYield: member.isAskedToYield,
      }));
    });
    const { ageingMs = 600_000 } = this.options;
    const now = new Date(EPOCH_MS + this.now);
    if (groupsToYield(groups, { count: groups.length, now, ageingMs }).length === 0) return;
    const count = await this.world.countForeground(groups.length, this.now);
    for (const [first, ...others] of groupsToYield(groups, { count, now, ageingMs })) {
      if (first === undefined) continue;
      for (const { member } of [first, ...others]) member.isAskedToYield = true;
      this.yieldAfterStep(first.run);
    }
  }

  private yieldAfterStep(run: Run): void {
    const steps = this.stepsOf(run) + 1;
    const time = run.beganAt + steps * run.stepMs;
    if (time >= run.end.tag) return; // it ends before, or its worker dies
    this.agenda.remove(run.end);
    run.end = this.at(time, () => this.finish(run, steps));
  }

  /** That are done by now. */
  private stepsOf({ beganAt, stepMs }: Run): number {
    return Math.floor((this.now - beganAt) / stepMs + 1e-9);
  }

  private move(story: Story, state: GenerationState): void {
    if (!mayFollow(story.state, state)) throw new Error(`${story.wanted.id}: ${story.state} -> ${state}`);
    story.state = state;
    if (isTerminal(state)) story.endedAt = this.now;
  }

  private storyOf(id: string): Story {
    const story = this.stories.get(id);
    if (story === undefined) throw new Error(`${id} was never asked for`);
    return story;
  }

  /** Something happens at this time. */
  at(time: number, act: Agenda["act"]): Agenda {
    const entry = { id: String(++this.count).padStart(12, "0"), tag: time, place: NOWHERE, act };
    this.agenda.add(entry);
    return entry;
  }
}
