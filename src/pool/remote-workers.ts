/**
 * Workers that somebody else runs: a source says at which places they may be, and whoever answers there is one. A place whose
 * connection breaks has lost its worker; what answers there later is another one, with another name.
 */
import { HealthDefinition } from "nice-grpc-server-health";
import type { Logger } from "../platform/logger.ts";
import { type WorkerAccess, WorkerChannel } from "./worker-channel.ts";
import type { DiscoveryListener, WorkerDiscovery } from "./worker-discovery.ts";

const RETRY_MS = 200;

/** Where a worker may be. */
export interface WorkerPlace {
  /** host:port */
  readonly target: string;
  /** For people, such as that of a pod. */
  readonly name: string;
  /** That certificates of its workers bear, where that is not the host of the target. */
  readonly serverName?: string | undefined;
}

export interface PlaceSource {
  /** Tells all places that are known, again whenever they change. Resolves at once where finding them takes time. */
  start(listener: (places: readonly WorkerPlace[]) => void): Promise<void>;
  stop(): Promise<void>;
}

export interface RemoteWorkersOptions {
  readonly source: PlaceSource;
  readonly access: WorkerAccess;
  readonly logger: Logger;
}

export class RemoteWorkers implements WorkerDiscovery {
  readonly areElsewhere = true;
  /** By target. */
  private readonly watches = new Map<string, PlaceWatch>();
  /** Workers that were found, by the name of their place. */
  private readonly found = new Map<string, number>();
  private listener: DiscoveryListener | undefined;

  constructor(private readonly options: RemoteWorkersOptions) {}

  async start(listener: DiscoveryListener): Promise<void> {
    this.listener = listener;
    await this.options.source.start((places) => this.list(places));
  }

  /** They cannot be replaced from here: one that does not end what was cancelled ends itself. It may come back. */
  reportStuck(name: string): void {
    for (const watch of this.watches.values()) if (watch.worker === name) watch.lookAgain();
  }

  /** The workers go on. */
  async stop(): Promise<void> {
    await this.options.source.stop();
    for (const watch of this.watches.values()) watch.close();
    this.watches.clear();
  }

  private list(places: readonly WorkerPlace[]): void {
    const targets = new Set(places.map(({ target }) => target));
    for (const [target, watch] of this.watches) {
      if (targets.has(target)) continue;
      this.watches.delete(target);
      watch.close();
      watch.lose();
    }
    for (const place of places) {
      if (this.watches.has(place.target)) continue;
      const watch = new PlaceWatch(place, this.options.access, {
        answers: () => this.find(place),
        lost: (worker) => this.lose(worker),
      });
      this.watches.set(place.target, watch);
    }
  }

  private find({ name: place, target, serverName }: WorkerPlace): string {
    const times = (this.found.get(place) ?? 0) + 1;
    this.found.set(place, times);
    const name = times === 1 ? place : `${place}#${times}`;
    this.options.logger.info({ worker: name, target }, "worker found");
    this.listener?.found({ name, target, serverName, access: this.options.access });
    return name;
  }

  private lose(worker: string): void {
    this.options.logger.info({ worker }, "worker lost");
    this.listener?.lost(worker);
  }
}

interface PlaceListener {
  /** Somebody answers who did not before. @returns the name that the worker gets */
  answers(): string;
  lost(worker: string): void;
}

/** Watches the health service at one place: whether it says that it serves or not, somebody is there. */
class PlaceWatch {
  /** Name of the worker that is there. */
  worker: string | undefined;
  private readonly closing = new AbortController();
  private looking = new AbortController();

  constructor(
    place: WorkerPlace,
    access: WorkerAccess,
    private readonly listener: PlaceListener,
  ) {
    void this.run(new WorkerChannel({ ...place, access }));
  }

  lose(): void {
    if (this.worker === undefined) return;
    const { worker } = this;
    this.worker = undefined;
    this.listener.lost(worker);
  }

  /** What is there now is another worker. */
  lookAgain(): void {
    this.lose();
    this.looking.abort();
  }

  close(): void {
    this.closing.abort();
  }

  /** A worker that drains ends the watch in order, and still has attempts that yield: it is lost when its connection is. */
  private async run(channel: WorkerChannel): Promise<void> {
    const { signal } = this.closing;
    const health = channel.clientOf(HealthDefinition);
    while (!signal.aborted) {
      this.looking = new AbortController();
      try {
        const watching = AbortSignal.any([signal, this.looking.signal]);
        for await (const _ of health.watch({ service: "" }, { signal: watching })) {
          if (!watching.aborted) this.worker ??= this.listener.answers();
        }
      } catch {
        if (!signal.aborted) this.lose();
      }
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    channel.close();
  }
}
