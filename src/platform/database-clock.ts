/**
 * The database's time of day. Processes of a server compare times that they tell each other through rows and links, so they
 * go by one clock, whatever that of their machine says. Between two looks at it this clock goes by the seconds of the
 * machine, which go on evenly when somebody sets its time.
 */
import { asAnyone } from "./access.ts";
import type { Clock } from "./clock.ts";
import type { Database } from "./database.ts";
import type { Logger } from "./logger.ts";
import { Ticker } from "./ticker.ts";

const LOOK_MS = 10_000;
/** Less is not told from the time that asking takes. */
const TOLERANCE_MS = 100;
/** An answer that took longer says too little. */
const MAX_ASKING_MS = 2000;
/** Somebody should know. */
const ODD_MS = 5000;

export class DatabaseClock implements Clock {
  /** The time of day when `performance.now()` was 0. */
  private originMs = performance.timeOrigin;
  private ticker: Ticker | undefined;

  constructor(private readonly logger: Logger) {}

  now(): Date {
    return new Date(this.originMs + performance.now());
  }

  elapsedMs(): number {
    return performance.now();
  }

  /** Until then it is the machine's. */
  async follow(db: Database): Promise<void> {
    const runOnce = () => this.look(db);
    await runOnce();
    this.ticker = new Ticker({ name: "clock", intervalMs: LOOK_MS, runOnce, logger: this.logger });
    this.ticker.start();
  }

  async stop(): Promise<void> {
    await this.ticker?.stop();
  }

  private async look(db: Database): Promise<void> {
    const askedAt = performance.now();
    const [row] = await db.singly(asAnyone).$queryRaw<{ ms: number }[]>`
      select extract(epoch from clock_timestamp())::float8 * 1000 as ms`;
    const answeredAt = performance.now();
    if (row === undefined || answeredAt - askedAt > MAX_ASKING_MS) return;
    const originMs = row.ms - (askedAt + answeredAt) / 2;
    const jumpMs = originMs - this.originMs;
    if (Math.abs(jumpMs) < TOLERANCE_MS + (answeredAt - askedAt) / 2) return;
    if (Math.abs(jumpMs) > ODD_MS)
      this.logger.warn({ seconds: Math.round(jumpMs / 1000) }, "the time of day was put right: the database's counts");
    this.originMs = originMs;
  }
}
