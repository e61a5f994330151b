import type { ChannelAddress } from "./worker-channel.ts";

/** Where a worker answers. */
export interface WorkerAddress extends ChannelAddress {
  /** Stable while the worker lives; a worker that takes its place has another one. */
  readonly name: string;
}

export interface DiscoveryListener {
  found(worker: WorkerAddress): void;
  lost(name: string): void;
}

/** Finds the workers of a pool. One of the four adapters. */
export interface WorkerDiscovery {
  /** They run on when this process ends: another one meets the same under their names. */
  readonly areElsewhere: boolean;
  start(listener: DiscoveryListener): Promise<void>;
  /** The worker is there but does not work, or does not even answer: whoever runs it should replace it. */
  reportStuck(name: string): void;
  /** Ends what this discovery started; workers get time to stop by themselves. */
  stop(): Promise<void>;
}
