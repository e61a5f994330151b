/**
 * Reads of one request, gathered: what its field resolvers ask for at about the same time becomes one transaction, and all
 * keys of one kind one call. A page of fifty rows costs as many statements as a page of one.
 */
import DataLoader from "dataloader";
import type { Access } from "./access.ts";
import type { Database, Tx } from "./database.ts";
import { invariant } from "./errors.ts";

/** Reads what belongs to many keys at once: a function of a store. What is missing in the answer is undefined to its reader. */
export type ReadMany<K, V> = (tx: Tx, keys: readonly K[]) => Promise<ReadonlyMap<K, V>>;

export class ReadSession {
  // biome-ignore lint/suspicious/noExplicitAny: each loader has the types of the function it is found by
  private readonly loaders = new Map<ReadMany<any, any>, DataLoader<any, any>>();
  private dispatches: (() => void)[] = [];
  /** Set while the loaders call their functions: the transaction, or why there is none. */
  private round: Round | undefined;

  constructor(
    private readonly db: Database,
    private readonly access: Access,
  ) {}

  /** @param read the same function for all keys that shall be read together */
  async load<K, V>(read: ReadMany<K, V>, key: K): Promise<V | undefined> {
    const loader: DataLoader<K, V | undefined> = this.loaders.get(read) ?? this.loaderOf(read);
    this.loaders.set(read, loader);
    return loader.load(key);
  }

  private loaderOf<K, V>(read: ReadMany<K, V>): DataLoader<K, V | undefined> {
    return new DataLoader<K, V | undefined>(
      async (keys) => {
        const { round } = this;
        invariant(round !== undefined, "a loader was called outside its transaction");
        if ("failure" in round) throw round.failure;
        const reading = read(round.tx, [...new Set(keys)]);
        round.reads.push(reading);
        const found = await reading;
        return keys.map((key) => found.get(key));
      },
      // Nothing is kept: a mutation may follow in the same request.
      { cache: false, batchScheduleFn: (dispatch) => this.schedule(dispatch) },
    );
  }

  private schedule(dispatch: () => void): void {
    this.dispatches.push(dispatch);
    if (this.dispatches.length === 1) setImmediate(() => void this.readAll());
  }

  private async readAll(): Promise<void> {
    const { dispatches } = this;
    this.dispatches = [];
    let hasBegun = false;
    const dispatchAll = (round: Round): void => {
      this.round = round;
      for (const dispatch of dispatches) dispatch();
      this.round = undefined;
    };
    try {
      await this.db.transaction(this.access, async (tx) => {
        hasBegun = true;
        const reads: Promise<unknown>[] = [];
        dispatchAll({ tx, reads });
        await Promise.all(reads);
      });
    } catch (failure) {
      // Once it has begun, whoever asked gets the failure from the read itself.
      if (!hasBegun) dispatchAll({ failure });
    }
  }
}

type Round = { readonly tx: Tx; readonly reads: Promise<unknown>[] } | { readonly failure: unknown };
