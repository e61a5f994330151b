/** Asks a tenant's checks about the items of a batch whose turn comes next: never about all of them, and in no request. */

import { setImmediate } from "node:timers/promises";
import type { WrittenText } from "../moderation/check.ts";
import type { Moderation, Ruling } from "../moderation/moderation.ts";
import { asTenant } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database, Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { countOpen, findBatch } from "./batch.store.ts";
import { type BatchKey, listItemSettings } from "./batch-item.store.ts";
import type { PresetCatalog } from "./preset-catalog.ts";
import { parseTextToImage } from "./settings.ts";

/** Items of a batch that checks are asked about at a time. */
const ASKED_AT_ONCE = 8;
/** How long it counts what was said about an item that limits keep waiting: checks are not asked again each half second. */
const REMEMBERED_MS = 60_000;

/** What checks say about an item, under the id that its generation will have. */
export interface JudgedItem extends Ruling {
  readonly generationId: string;
}

export interface BatchModerationServices {
  readonly db: Database;
  readonly presets: PresetCatalog;
  readonly moderation: Moderation;
  readonly clock: Clock;
}

type JudgedItems = Map<number, JudgedItem>;

export class BatchModeration {
  /** By batch. */
  private readonly remembered = new Map<string, { readonly judged: JudgedItems; readonly until: number }>();

  constructor(private readonly services: BatchModerationServices) {}

  /**
   * What checks say about the items that a window has room for, by their index; undefined when there are no checks. Items
   * behind one that could not be judged are left out with it.
   */
  async judgeNext(
    { id, tenantId }: BatchKey,
    window: number,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<number, JudgedItem> | undefined> {
    const { db, moderation } = this.services;
    if (!(await moderation.applies(tenantId, "PROMPT"))) return undefined;
    const { from, prompts } = await db.transaction(asTenant(tenantId), (tx) => this.readNext(tx, id, window));
    const judged = this.recall(id, from);
    const firstNew = prompts.findIndex((_, place) => !judged.has(from + place));
    for (let start = firstNew; start !== -1 && start < prompts.length; start += ASKED_AT_ONCE) {
      const asked = prompts.slice(start, start + ASKED_AT_ONCE).map(async (texts): Promise<JudgedItem> => {
        const generationId = newId();
        return {
          generationId,
          ...(await moderation.judge({ stage: "PROMPT", tenantId, generationId, texts }, signal)),
        };
      });
      for (const [place, item] of (await Promise.all(asked)).entries()) {
        if (item.refusal?.code === "UNAVAILABLE") return judged;
        judged.set(from + start + place, item);
      }
      await setImmediate(); // reading long prompts leaves no turn to others
    }
    return judged;
  }

  /** What was said about items from `from` on. */
  private recall(batchId: string, from: number): JudgedItems {
    const now = this.services.clock.elapsedMs();
    for (const [id, { until }] of this.remembered) if (until <= now) this.remembered.delete(id);
    const judged = this.remembered.get(batchId)?.judged ?? new Map<number, JudgedItem>();
    for (const index of judged.keys()) if (index < from) judged.delete(index);
    if (judged.size === 0) this.remembered.set(batchId, { judged, until: now + REMEMBERED_MS });
    return judged;
  }

  /** What was written in the items that there is room for. */
  private async readNext(
    tx: Tx,
    batchId: string,
    window: number,
  ): Promise<{ from: number; prompts: readonly (readonly WrittenText[])[] }> {
    const batch = await findBatch(tx, batchId);
    if (batch === undefined || batch.cancelRequestedAt !== null) return { from: 0, prompts: [] };
    const { nextIndex: from, settings, preset: name } = batch;
    const { queued, running } = await countOpen(tx, batchId);
    const items = await listItemSettings(tx, batchId, { from, limit: window - queued - running });
    const preset = (await this.services.presets.listRecent(tx)).find((offered) => offered.name === name);
    const ours = preset?.textToImage?.defaultUnconditionalPrompt;
    const prompts = items.map((item) => {
      const { prompt, unconditionalPrompt } = parseTextToImage({ ...(settings as object), ...(item as object) });
      // The preset's own words are nobody's to be refused.
      const text = { path: ["prompt"], text: prompt };
      return unconditionalPrompt === ours
        ? [text]
        : [text, { path: ["unconditionalPrompt"], text: unconditionalPrompt }];
    });
    return { from, prompts };
  }
}
