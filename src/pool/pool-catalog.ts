/** What can be asked for: the presets that the pools offered when they were last seen. */
import type { Tx } from "../platform/database.ts";
import { listPools, type PresetOffer } from "./pool.store.ts";

export interface OfferedPreset extends PresetOffer {
  readonly pool: string;
  readonly textToImage: PresetOffer["textToImage"];
  readonly imageEdit: PresetOffer["imageEdit"];
  readonly imageVariation: PresetOffer["imageVariation"];
  readonly imageToText: PresetOffer["imageToText"];
}

export class PoolCatalog {
  /** Each preset once, with the first pool that serves it. */
  async list(tx: Tx): Promise<readonly OfferedPreset[]> {
    const byName = new Map<string, OfferedPreset>();
    for (const { name: pool, presets } of await listPools(tx)) {
      for (const preset of presets) {
        const { textToImage, imageEdit, imageVariation, imageToText } = preset;
        const tasks = { textToImage, imageEdit, imageVariation, imageToText };
        if (!byName.has(preset.name)) byName.set(preset.name, { ...preset, ...tasks, pool });
      }
    }
    return [...byName.values()];
  }
}
