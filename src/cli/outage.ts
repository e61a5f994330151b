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

/** The patience is at its end. */
export class ServerLost extends Error {}

export interface OutageOptions {
  /** How long an outage may last. */
  readonly patienceMs: number;
  /** Pause between two tries. */
  readonly retryMs: number;
  /** Called at the beginning of each outage. */
  readonly onBegin: (reason: string) => void;
}

export class Outage {
  private beganAt: number | undefined;
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
  }

  /** Waits for the next try after an Unreachable; throws any other error, and ServerLost when there is no next try. */
  async bridge(error: unknown): Promise<void> {
    if (!(error instanceof Unreachable)) throw error;
    const { patienceMs, retryMs, onBegin } = this.options;
    const now = performance.now();
    if (this.beganAt === undefined) {
      this.beganAt = now;
      onBegin(error.message);
    }
    if (now - this.beganAt >= patienceMs)
      throw new ServerLost(`The server has not answered for ${patienceMs / 1000} s (${error.message}).`);
    await setTimeout(retryMs);
  }
}
