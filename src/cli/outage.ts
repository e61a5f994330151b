/** Patience with a server that is away: it may be restarting, and loses nothing by it. */
import { setTimeout } from "node:timers/promises";

/** The server could not be reached, or was lost in mid-answer. */
export class Unreachable extends Error {
  /** @param isUntouched the server certainly got nothing of the call */
  constructor(
    reason: string,
    readonly isUntouched = false,
  ) {
    super(reason);
  }
}

/** The server answers, and cannot do this for a while: it did nothing of it. */
export class NotNow extends Unreachable {
  /** @param retryAfterMs when it asks to be asked again; undefined where it does not say */
  constructor(
    reason: string,
    readonly retryAfterMs: number | undefined,
  ) {
    super(reason);
  }
}

/** The patience is at its end. */
export class ServerLost extends Error {}

export interface OutageOptions {
  /** How long an outage may last. */
  readonly patienceMs: number;
  /** Pause between two tries of a server that is not there; of one that cannot do something, the first, and then ever longer ones. */
  readonly retryMs: number;
  /** Called at the beginning of each outage. */
  readonly onBegin: (reason: string, isThere: boolean) => void;
}

/** Pauses grow to so many times the first one, unless the server names a longer one. */
const MAX_GROWTH = 16;

export class Outage {
  private beganAt: number | undefined;
  /** In this outage. */
  private refusals = 0;
  /** Whether the server has answered anything yet. */
  hasBeenUp = false;

  constructor(private readonly options: OutageOptions) {}

  get isOn(): boolean {
    return this.beganAt !== undefined;
  }

  /** The server has answered. */
  end(): void {
    this.hasBeenUp = true;
    this.beganAt = undefined;
    this.refusals = 0;
  }

  /** Waits for the next try after an Unreachable; throws any other error, and ServerLost when there is no next try. */
  async bridge(error: unknown): Promise<void> {
    if (!(error instanceof Unreachable)) throw error;
    const { patienceMs, onBegin } = this.options;
    const isThere = error instanceof NotNow;
    const now = performance.now();
    if (this.beganAt === undefined) {
      this.beganAt = now;
      onBegin(error.message, isThere);
    }
    const leftMs = this.beganAt + patienceMs - now;
    if (leftMs <= 0) {
      const what = isThere ? "could not do it" : "has not answered";
      throw new ServerLost(`The server ${what} for ${patienceMs / 1000} s (${error.message}).`);
    }
    await setTimeout(Math.min(leftMs, this.pauseMs(error)));
  }

  private pauseMs(error: Unreachable): number {
    const { retryMs } = this.options;
    if (!(error instanceof NotNow)) return retryMs;
    return Math.max(error.retryAfterMs ?? 0, retryMs * Math.min(MAX_GROWTH, 2 ** this.refusals++));
  }
}
