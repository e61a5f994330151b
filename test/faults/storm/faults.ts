/** What happens to whom, planned by a seed; times are those of the machine. */
import { setTimeout } from "node:timers/promises";
import { randomFrom } from "../../scheduler/scenario.ts";
import { choose } from "./choosing.ts";
import { disturbLink, type LinkFault } from "./network.ts";
import type { Member, World } from "./world.ts";

/** A dispatcher's lease is ten seconds: what is frozen for longer has lost it, and most of what it ran runs elsewhere when it comes back. */
const FREEZE_MS = [11_500, 24_000] as const;
const OUTAGE_MS = [200, 3000] as const;
/** Of a server that everybody shares: some last longer than leases, which are ten seconds. */
const HANG_MS = [1000, 12_000] as const;
const STORAGE_MS = [2000, 8000] as const;
/** Most of those that are silent are so until the leases behind them have run out. */
const LINK_MS: Readonly<Record<LinkFault, readonly [number, number]>> = {
  "cut link": [0, 3000],
  "silence link": [5000, 24_000],
  "mute link": [5000, 24_000],
  "slow link": [2000, 8000],
};

/** How often, relative to each other. */
const KINDS = [
  { kind: "kill worker", weight: 30 },
  { kind: "freeze worker", weight: 7 },
  { kind: "kill dispatcher", weight: 14 },
  { kind: "freeze dispatcher", weight: 6 },
  { kind: "kill api", weight: 14 },
  { kind: "freeze api", weight: 5 },
  { kind: "kill postgres", weight: 8 },
  { kind: "freeze postgres", weight: 3 },
  { kind: "kill redis", weight: 7 },
  { kind: "freeze redis", weight: 3 },
  { kind: "storage fails", weight: 3 },
  { kind: "storage is slow", weight: 3 },
  { kind: "rolling restart", weight: 2 },
  { kind: "cut link", weight: 8 },
  { kind: "silence link", weight: 8 },
  { kind: "mute link", weight: 5 },
  { kind: "slow link", weight: 4 },
] as const;
export type FaultKind = (typeof KINDS)[number]["kind"];

export interface PlannedFault {
  readonly kind: FaultKind;
  /** Since the fault before. */
  readonly afterMs: number;
  /** Which of several it hits, in [0, 1). */
  readonly whom: number;
  /** How long it lasts, in [0, 1). */
  readonly howLong: number;
  /** What else there is to choose, in [0, 1). */
  readonly how: number;
}

export interface Fault {
  readonly kind: FaultKind;
  readonly target: string;
  /** Unix time. */
  readonly at: number;
  until: number;
}

export interface StormWish {
  readonly seed: number;
  /** That signals, or the ends of whole servers, make; other faults come on top. Of all that `only` leaves, where that is given. */
  readonly kills: number;
  /** From the first fault to the last one. */
  readonly minutes: number;
  /** Names of the kinds that happen. */
  readonly only?: RegExp | undefined;
}

export function planStorm({ seed, kills, minutes, only }: StormWish): readonly PlannedFault[] {
  const random = randomFrom(seed);
  const kinds = KINDS.filter(({ kind }) => only === undefined || only.test(kind));
  const plan: PlannedFault[] = [];
  for (let left = kills; left > 0; ) {
    const { kind } = choose(kinds, random());
    plan.push({ kind, afterMs: 0.5 + random(), whom: random(), howLong: random(), how: random() });
    if (only !== undefined || isKill(kind)) left--;
  }
  const meanMs = (minutes * 60_000) / plan.length;
  return plan.map(({ afterMs, ...fault }) => ({ ...fault, afterMs: afterMs * meanMs }));
}

const isLinkFault = (kind: FaultKind): kind is LinkFault => kind.endsWith("link");

export const isKill = (kind: FaultKind): boolean => kind.startsWith("kill") || kind.startsWith("freeze");

/** Carries a plan out. */
export class Storm {
  readonly faults: Fault[] = [];
  /** Whom something happens to at the moment. */
  private readonly busy = new Set<string>();
  private readonly running = new Set<Promise<void>>();

  constructor(
    private readonly world: World,
    private readonly heard: (fault: Fault) => void,
  ) {}

  /** Resolves when everything that was planned has happened and is over. */
  async run(plan: readonly PlannedFault[]): Promise<void> {
    for (const planned of plan) {
      await setTimeout(planned.afterMs);
      const happening = this.happen(planned);
      this.running.add(happening);
      void happening.finally(() => this.running.delete(happening));
    }
    await Promise.all(this.running);
  }

  private async happen({ kind, whom, howLong, how }: PlannedFault): Promise<void> {
    const lasting = ([least, most]: readonly [number, number]): number => least + (most - least) * howLong;
    const [what = "", who = ""] = kind.split(" ");
    if (kind === "rolling restart") return this.rollingRestart();
    if (isLinkFault(kind)) {
      const { name, link } = choose(this.world.network.links, whom);
      return this.hit(kind, name, () => disturbLink(link, kind, { ms: lasting(LINK_MS[kind]), how }));
    }
    if (kind.startsWith("storage"))
      return this.hit(kind, "storage", () => this.disturbStorage(kind, lasting(STORAGE_MS)));
    if (kind === "freeze postgres" || kind === "freeze redis")
      return this.hit(kind, who, () => this.freeze(who, lasting(HANG_MS)));
    if (who === "postgres") return this.hit(kind, who, () => this.killPostgres(lasting(OUTAGE_MS)));
    if (who === "redis") return this.hit(kind, who, () => this.killRedis(lasting(OUTAGE_MS)));
    const member = await this.chosen(this.membersOf(who), whom);
    return this.hit(kind, member.name, async () => {
      const { pid } = member;
      if (what === "kill") return signal(pid, "SIGKILL");
      signal(pid, "SIGSTOP");
      await setTimeout(lasting(FREEZE_MS));
      signal(pid, "SIGCONT");
    });
  }

  private membersOf(who: string): readonly Member[] {
    const { apis, dispatchers, workers } = this.world;
    return { api: apis, dispatcher: dispatchers, worker: workers }[who] ?? [];
  }

  /** One that nothing happens to yet; waits while there is none. */
  private async chosen(members: readonly Member[], whom: number): Promise<Member> {
    for (;;) {
      const free = members.filter(({ name }) => !this.busy.has(name));
      const member = free[Math.floor(whom * free.length)];
      if (member !== undefined) return member;
      await setTimeout(100);
    }
  }

  private async hit(kind: FaultKind, target: string, act: () => void | Promise<void>): Promise<void> {
    while (this.busy.has(target)) await setTimeout(100);
    this.busy.add(target);
    const fault: Fault = { kind, target, at: Date.now(), until: Number.POSITIVE_INFINITY };
    this.faults.push(fault);
    try {
      const acting = act();
      this.heard(fault);
      await acting;
    } finally {
      fault.until = Date.now();
      this.busy.delete(target);
    }
  }

  private async killPostgres(ms: number): Promise<void> {
    const { postgres } = this.world;
    await postgres.kill();
    await setTimeout(ms);
    // Shared memory is there until the last process that was being started has seen the end of its parent.
    for (let failures = 0; ; failures++) {
      try {
        return await postgres.restart();
      } catch (error) {
        if (failures === 20) throw error;
        await setTimeout(200);
      }
    }
  }

  private async freeze(who: string, ms: number): Promise<void> {
    const { postgres, redis } = this.world;
    if (who === "redis") redis.freeze();
    const thaw = who === "redis" ? () => redis.thaw() : postgres.freeze();
    await setTimeout(ms);
    thaw();
  }

  private async killRedis(ms: number): Promise<void> {
    await this.world.redis.kill();
    await setTimeout(ms);
    await this.world.redis.restart();
  }

  private async disturbStorage(kind: FaultKind, ms: number): Promise<void> {
    const { s3 } = this.world;
    if (kind === "storage fails") s3.failures = Number.POSITIVE_INFINITY;
    else s3.delayMs = 700;
    await setTimeout(ms);
    s3.failures = 0;
    s3.delayMs = 0;
  }

  /** Of every process, one after the other. */
  private async rollingRestart(): Promise<void> {
    const { apis, dispatchers, workers } = this.world;
    for (const member of [...workers, ...dispatchers, ...apis])
      await this.hit("rolling restart", member.name, () => member.replace());
  }
}

/** To a process that may have ended by itself. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
