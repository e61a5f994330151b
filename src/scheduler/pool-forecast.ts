/** What a pool will do, as far as it was played, and what that was played from. */

import { type Forecast, type ForecastStart, forecast, type Line, type PoolState, type Waiting } from "./forecast.ts";
import { keyOf, type QueueName } from "./queue-name.ts";

export class PoolForecast {
  /** Queued since the state was read. */
  private readonly late = new Map<string, Waiting>();
  private playing: Promise<void> | undefined;
  /** By the id of a generation: how many start before it. */
  private places: ReadonlyMap<string, number>;
  /** By queue; made when somebody asks. */
  private laterTurns: ReadonlyMap<string, number> | undefined;

  /** @param found as it was played from the state */
  constructor(
    readonly state: PoolState,
    private found: Forecast,
  ) {
    this.places = placesOf(found);
  }

  get starts(): readonly ForecastStart[] {
    return this.found.starts;
  }

  /** Whatever waits is among the starts, or never starts as things are. */
  get isComplete(): boolean {
    return this.found.isComplete;
  }

  placeOf(id: string): number | undefined {
    return this.places.get(id);
  }

  /** How many other queues of which nothing starts in what was played have their turn before this one, as tags stand. */
  laterTurnOf(queue: QueueName): number {
    this.laterTurns ??= laterTurnsOf(this.state, this.found);
    return this.laterTurns.get(keyOf(queue)) ?? this.laterTurns.size;
  }

  isServed(preset: string): boolean {
    return this.state.workers.some(({ presets }) => presets.includes(preset));
  }

  /** Takes in what was queued after the state was read; those that come at about the same time are played together. */
  async include(waiting: Waiting): Promise<void> {
    if (waiting.createdAt < this.state.now || this.late.has(waiting.id) || this.places.has(waiting.id)) return;
    this.late.set(waiting.id, waiting);
    this.playing ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.playAgain());
    await this.playing;
  }

  /** When it would start if it were queued now; undefined where that is beyond what is played. */
  expect(waiting: Waiting): ForecastStart | undefined {
    const state = { ...this.state, lines: withLate(this.state.lines, [...this.late.values(), waiting]) };
    return forecast(state, waiting.id).starts.find((start) => start.waiting.id === waiting.id);
  }

  private playAgain(): void {
    this.playing = undefined;
    this.found = forecast({ ...this.state, lines: withLate(this.state.lines, [...this.late.values()]) });
    this.places = placesOf(this.found);
    this.laterTurns = undefined;
  }
}

const placesOf = ({ starts }: Forecast): ReadonlyMap<string, number> =>
  new Map(starts.map(({ waiting }, place) => [waiting.id, place]));

function laterTurnsOf({ turns, lines }: PoolState, { starts }: Forecast): ReadonlyMap<string, number> {
  const played = new Set(starts.map(({ waiting }) => keyOf(waiting)));
  const tags = new Map(turns.tags.map(({ tenantId, userId, tag }) => [`${tenantId} ${userId ?? ""}`, tag]));
  const later = lines.flatMap(({ queue }) => {
    const { tenantId, userId, priority } = queue;
    const key = keyOf(queue);
    if (played.has(key)) return [];
    const [tenant = 0, member = 0] = [tags.get(`${tenantId} `), tags.get(`${tenantId} ${userId}`)];
    return [{ key, isBatch: priority === "BATCH", tenant, member }];
  });
  later.sort(
    (a, b) =>
      Number(a.isBatch) - Number(b.isBatch) || a.tenant - b.tenant || a.member - b.member || (a.key < b.key ? -1 : 1),
  );
  return new Map(later.map(({ key }, place) => [key, place]));
}

/** Each behind the others of its queue; where not all of those were read, it is not played. */
function withLate(lines: readonly Line[], late: readonly Waiting[]): readonly Line[] {
  const all = new Map(lines.map((line) => [keyOf(line.queue), line]));
  for (const waiting of late) {
    const line = all.get(keyOf(waiting)) ?? { queue: waiting, items: [], hasMore: false };
    if (!line.hasMore) all.set(keyOf(waiting), { ...line, items: [...line.items, waiting] });
  }
  return [...all.values()];
}
