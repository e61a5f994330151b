/** What can be asked for: the presets that the pools offered when they were last seen. */
import type { Clock } from "../platform/clock.ts";
import type { Tx } from "../platform/database.ts";
import { listPools, type PresetOffer } from "./pool.store.ts";

export interface OfferedPreset extends PresetOffer {
  readonly pool: string;
  readonly priceFactor: number;
  readonly textToImage: PresetOffer["textToImage"];
  readonly imageEdit: PresetOffer["imageEdit"];
  readonly imageVariation: PresetOffer["imageVariation"];
  readonly imageToText: PresetOffer["imageToText"];
}

const RECENT_MS = 1000;

export class PoolCatalog {
  private recent: { readonly presets: readonly OfferedPreset[]; readonly readAt: number } | undefined;

  /** @param priceFactors by preset, as the operator set them; 1 for others */
  constructor(
    private readonly clock: Clock,
    private readonly priceFactors: ReadonlyMap<string, number>,
  ) {}

  /** Each preset once, with the first pool that serves it. */
  async list(tx: Tx): Promise<readonly OfferedPreset[]> {
    const byName = new Map<string, OfferedPreset>();
    for (const { name: pool, presets } of await listPools(tx)) {
      for (const preset of presets) {
        const { textToImage, imageEdit, imageVariation, imageToText } = preset;
        const tasks = { textToImage, imageEdit, imageVariation, imageToText };
        const priceFactor = this.priceFactors.get(preset.name) ?? 1;
        if (!byName.has(preset.name)) byName.set(preset.name, { ...preset, ...tasks, pool, priceFactor });
      }
    }
    const presets = [...byName.values()];
    this.recent = { presets, readAt: this.clock.elapsedMs() };
    return presets;
  }

  /** As they were at most a second ago. */
  async listRecent(tx: Tx): Promise<readonly OfferedPreset[]> {
    const { recent } = this;
    const isRecent = recent !== undefined && this.clock.elapsedMs() - recent.readAt < RECENT_MS;
    return isRecent ? recent.presets : this.list(tx);
  }
}
