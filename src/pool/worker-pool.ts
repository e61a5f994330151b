/**
 * The workers of one pool and their slots. Capacity is a slot that one holds: nothing is claimed without one.
 */
import type { DescribeResponse } from "../../proto/gen/inference/v1/inference.ts";
import type { Logger } from "../platform/logger.ts";
import type { PresetOffer } from "./pool.store.ts";
import { offersOf } from "./pool-catalog.ts";
import { WorkerConnection } from "./worker-connection.ts";
import type { WorkerAddress, WorkerDiscovery } from "./worker-discovery.ts";

/** How long a worker gets nothing after it misbehaved. */
const QUARANTINE_MS = 10_000;

/** The right to run one attempt on a worker. */
export interface Slot {
  readonly worker: WorkerConnection;
  /** Presets that the worker serves. */
  readonly presets: readonly string[];
  /** The attempt is over. */
  release(): void;
  /** Nothing was run: nobody needs to look again. */
  putBack(): void;
}

interface Member {
  readonly connection: WorkerConnection;
  description: DescribeResponse | undefined;
  busy: number;
  quarantinedUntil: number;
}

export class WorkerPool {
  private readonly members = new Map<string, Member>();
  private readonly changed = new Set<() => void>();

  constructor(
    private readonly discovery: WorkerDiscovery,
    private readonly logger: Logger,
  ) {}

  async start(): Promise<void> {
    await this.discovery.start({ found: (worker) => this.add(worker), lost: (name) => this.remove(name) });
  }

  /** Tells `listener` when slots may have become free or workers have come or gone. */
  onChange(listener: () => void): () => void {
    this.changed.add(listener);
    return () => this.changed.delete(listener);
  }

  /** What the workers that are ready offer, each preset once. */
  offers(): readonly PresetOffer[] {
    return offersOf([...this.members.values()].flatMap(({ description }) => description?.presets ?? []));
  }

  /** A free slot on the least busy worker; undefined when there is none. */
  tryAcquire(): Slot | undefined {
    const now = performance.now();
    const free = [...this.members.values()]
      .filter(({ description, busy, quarantinedUntil }) => busy < (description?.slots ?? 0) && quarantinedUntil <= now)
      .sort((a, b) => a.busy - b.busy)[0];
    if (free === undefined) return undefined;
    free.busy++;
    let isHeld = true;
    const putBack = (): void => {
      if (isHeld) free.busy--;
      isHeld = false;
    };
    return {
      worker: free.connection,
      presets: free.description?.presets.map(({ name }) => name) ?? [],
      putBack,
      release: () => {
        putBack();
        this.notify();
      },
    };
  }

  /** The worker answered but did not work, or fails before it starts: leave it alone for a while. */
  quarantine(name: string, { isStuck }: { isStuck: boolean }): void {
    const member = this.members.get(name);
    if (member === undefined) return;
    this.logger.warn({ worker: name, isStuck }, "worker quarantined");
    member.quarantinedUntil = performance.now() + QUARANTINE_MS;
    setTimeout(() => this.notify(), QUARANTINE_MS).unref();
    if (isStuck) this.discovery.reportStuck(name);
  }

  async stop(): Promise<void> {
    await this.discovery.stop();
    for (const { connection } of this.members.values()) connection.close();
    this.members.clear();
  }

  private add(worker: WorkerAddress): void {
    const connection = new WorkerConnection(
      worker,
      {
        ready: (description) => this.describe(worker.name, description),
        notReady: () => this.describe(worker.name, undefined),
      },
      this.logger,
    );
    this.members.set(worker.name, { connection, description: undefined, busy: 0, quarantinedUntil: 0 });
  }

  private remove(name: string): void {
    this.members.get(name)?.connection.close();
    this.members.delete(name);
    this.notify();
  }

  private describe(name: string, description: DescribeResponse | undefined): void {
    const member = this.members.get(name);
    if (member === undefined || (member.description === undefined && description === undefined)) return;
    member.description = description;
    this.logger.info({ worker: name, isReady: description !== undefined }, "worker readiness changed");
    this.notify();
  }

  private notify(): void {
    for (const listener of this.changed) listener();
  }
}
