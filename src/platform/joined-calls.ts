/**
 * Calls of the same line that come in while others of it are under way wait for those, and then go together: what they share,
 * such as the flush of a commit to disk, is paid once for all of them. A call that finds nobody under way goes at once.
 */
import { setImmediate } from "node:timers/promises";

export interface JoinedCallsOptions<Item, Result> {
  /** Carries out calls that go together: an outcome for each, in their order. When it throws, they go again one by one. */
  run(line: string, items: readonly Item[]): Promise<readonly PromiseSettledResult<Result>[]>;
  /** Of calls that must not go together, because each must see what became of the other. */
  sameness(item: Item): string;
  /** Calls that go together. */
  readonly maxItems: number;
}

interface Call<Item, Result> {
  readonly item: Item;
  settle(outcome: PromiseSettledResult<Result>): void;
}

export class JoinedCalls<Item, Result> {
  /** Those that wait, of each line of which some are under way. */
  private readonly lines = new Map<string, Call<Item, Result>[]>();

  constructor(private readonly options: JoinedCallsOptions<Item, Result>) {}

  call(line: string, item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: PromiseSettledResult<Result>): void =>
        outcome.status === "fulfilled" ? resolve(outcome.value) : reject(outcome.reason);
      const waiting = this.lines.get(line);
      if (waiting !== undefined) {
        waiting.push({ item, settle });
        return;
      }
      this.lines.set(line, [{ item, settle }]);
      void this.work(line);
    });
  }

  private async work(line: string): Promise<void> {
    await setImmediate(); // others of this turn of the event loop go along
    for (let calls = this.takeNext(line); calls.length > 0; calls = this.takeNext(line)) {
      await this.runAll(line, calls);
      await setImmediate();
    }
    this.lines.delete(line);
  }

  /** Those that came first, as far as they may go together; the others keep their order. */
  private takeNext(line: string): readonly Call<Item, Result>[] {
    const next = new Map<string, Call<Item, Result>>();
    const left: Call<Item, Result>[] = [];
    for (const call of this.lines.get(line) ?? []) {
      const sameness = this.options.sameness(call.item);
      if (next.size < this.options.maxItems && !next.has(sameness)) next.set(sameness, call);
      else left.push(call);
    }
    this.lines.set(line, left);
    return [...next.values()];
  }

  private async runAll(line: string, calls: readonly Call<Item, Result>[]): Promise<void> {
    try {
      const outcomes = await this.options.run(
        line,
        calls.map(({ item }) => item),
      );
      for (const [index, { settle }] of calls.entries())
        settle(outcomes[index] ?? { status: "rejected", reason: new Error("a call has no outcome") });
    } catch (reason) {
      if (calls.length === 1) calls[0]?.settle({ status: "rejected", reason });
      else await Promise.all(calls.map((call) => this.runAll(line, [call]))); // the fault of one is not its neighbours'
    }
  }
}
