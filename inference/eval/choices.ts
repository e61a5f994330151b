import { keyOfSeed, philox } from "../sampling/philox.ts";

/** The random choices of one case, the same for the same seed, series and number. */
export class Choices {
  private readonly block = new Uint32Array(4);
  private drawn = 0;

  constructor(
    private readonly seed: bigint,
    /** Which kind of cases: every series has choices of its own. */
    private readonly series: number,
    private readonly number: number,
  ) {}

  below(limit: number): number {
    philox(keyOfSeed(this.seed), [this.drawn++, this.number, this.series, 0], this.block);
    return Math.floor(((this.block[0] ?? 0) / 2 ** 32) * limit);
  }

  one<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  /** Two different ones. */
  two<T>(values: readonly T[]): readonly [T, T] {
    const first = this.below(values.length);
    const second = (first + 1 + this.below(values.length - 1)) % values.length;
    return [values[first] as T, values[second] as T];
  }
}
