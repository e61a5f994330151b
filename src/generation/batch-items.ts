/** From the items of a batch as they were asked for to items that can be queued and have a price. */
import { setImmediate } from "node:timers/promises";
import { DomainError, DomainErrors } from "../platform/errors.ts";
import { isStorable } from "../platform/text.ts";
import { priceOf } from "../quota/tariff.ts";
import { type DrawingWish, resolveTextToImage } from "./admission.ts";
import type { BatchSettings, NewItem } from "./batch.store.ts";
import type { OfferedPreset } from "./preset-catalog.ts";
import type { TextToImageSettings } from "./settings.ts";

const MAX_CUSTOM_ID_CHARACTERS = 128;
const CUSTOM_ID_DIGITS = 8;
/** More are not reported at a time. */
const MAX_REFUSALS = 20;
/** Items between two pauses, in which others have their turn: about ten milliseconds. */
const ITEMS_A_TURN = 500;
const SEEDS = 2n ** 64n;

export interface ItemWish extends Partial<DrawingWish> {
  readonly customId?: string | undefined;
  readonly prompt: string;
}

/** An item, and how its sender finds it. */
export interface PlacedItem {
  /** Position in the batch, from 0. */
  readonly index: number;
  readonly wish: ItemWish;
  /** Such as "Item 17" or "Line 18". */
  readonly place: string;
  /** Of the input. */
  readonly path: readonly string[];
}

/** An item, or why one cannot be read. */
export type Candidate = PlacedItem | DomainError;

export interface ResolvedItems {
  readonly settings: BatchSettings;
  readonly items: readonly NewItem[];
  /** Of all items. */
  readonly credits: bigint;
}

/** Throws DomainErrors that name the first items that are wrong. */
export async function resolveItems(
  candidates: AsyncIterable<Candidate> | Iterable<Candidate>,
  { defaults = {}, preset }: { defaults?: Partial<DrawingWish> | undefined; preset: OfferedPreset },
): Promise<ResolvedItems> {
  const resolver = new ItemResolver(defaults, preset);
  const items: NewItem[] = [];
  const refusals: DomainError[] = [];
  let seen = 0;
  for await (const candidate of candidates) {
    try {
      if (candidate instanceof DomainError) throw candidate;
      items.push(resolver.resolve(candidate));
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      refusals.push(error);
      if (refusals.length === MAX_REFUSALS) break;
    }
    if (++seen % ITEMS_A_TURN === 0) await setImmediate();
  }
  if (refusals.length > 0) throw new DomainErrors(refusals);
  return { settings: resolver.settings, items, credits: items.reduce((sum, item) => sum + item.credits, 0n) };
}

class ItemResolver {
  readonly settings: BatchSettings;
  /** The place of each customId. */
  private readonly places = new Map<string, string>();
  private readonly seed: bigint | undefined;
  private readonly common: Readonly<Record<string, unknown>>;

  constructor(
    private readonly defaults: Partial<DrawingWish>,
    private readonly preset: OfferedPreset,
  ) {
    const { prompt: _, seed, ...settings } = this.resolveSettings({ prompt: "any" }, "Defaults", ["input", "defaults"]);
    this.settings = settings;
    this.common = settings;
    this.seed = defaults.seed === undefined ? undefined : BigInt(seed);
  }

  resolve({ index, wish, place, path }: PlacedItem): NewItem {
    const customId = wish.customId ?? String(index).padStart(CUSTOM_ID_DIGITS, "0");
    this.claimCustomId(customId, place, path);
    const seed = wish.seed ?? (this.seed === undefined ? undefined : String((this.seed + BigInt(index)) % SEEDS));
    const settings = this.resolveSettings({ ...wish, seed }, place, path);
    const own = Object.entries(settings).filter(([name, value]) => value !== this.common[name]);
    return { index, customId, settings: Object.fromEntries(own), credits: priceOf(settings, this.preset.priceFactor) };
  }

  private resolveSettings(
    { customId: _, ...wish }: ItemWish,
    place: string,
    path: readonly string[],
  ): TextToImageSettings {
    try {
      return resolveTextToImage(
        { count: 1, guidanceSchedule: "CONSTANT", speed: "EXACT", ...this.defaults, ...wish },
        this.preset,
      );
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      const field = error.details.path?.at(3); // after input, task, textToImage
      throw refusal(place, error.message, field === undefined ? path : [...path, field]);
    }
  }

  private claimCustomId(customId: string, place: string, path: readonly string[]): void {
    const here = [...path, "customId"];
    if (customId === "" || customId.length > MAX_CUSTOM_ID_CHARACTERS || !isStorable(customId)) {
      throw refusal(place, `customId must have 1 to ${MAX_CUSTOM_ID_CHARACTERS} characters.`, here);
    }
    const other = this.places.get(customId);
    if (other !== undefined)
      throw refusal(place, `${other} has the customId "${customId}" too. Give each item one of its own.`, here);
    this.places.set(customId, place);
  }
}

const refusal = (place: string, problem: string, path: readonly string[]): DomainError =>
  new DomainError("INVALID_INPUT", `${place}: ${problem}`, { path });
