/** Failures of the database itself, of which callers are told that later is better, and its operator why. */
import { DomainError } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { Seldom } from "./seldom.ts";

/** disk_full, as PostgreSQL has it: in the code of its own errors, and in the words of others that pass them on. */
const DISK_FULL = "53100";
const FULL_RETRY_AFTER_MS = 30_000;
/** Of Prisma, the network and PostgreSQL: nobody answers, a connection broke, or there are too many of them. */
const AWAY =
  /^(P1001|P1002|P1017|P2024|ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|57P0[123]|08\w{3}|53300)$/;
/** Where an error has no code of its own. */
const AWAY_WORDS =
  /`(57P0[123]|08\w{3}|53300)`|Connection terminated|connection error and is not queryable|timeout exceeded when trying to connect|terminating connection|database kept silent/;
const AWAY_RETRY_AFTER_MS = 2000;
/** query_canceled, of our own limit or its operator's; in words of others, too, as those of a transaction that lasted too long. */
const SLOW = "57014";
const SLOW_WORDS = /`57014`|on an expired transaction|Unable to start a transaction in the given time/;
const SLOW_RETRY_AFTER_MS = 2000;

export class DatabaseTroubles {
  private readonly complaints = new Seldom();

  constructor(private readonly logger: Logger | undefined) {}

  /** What a caller is told in place of an error: the error itself unless the database is to blame. */
  told(error: unknown): unknown {
    if (!(error instanceof Error) || error instanceof DomainError) return error;
    const code = "code" in error ? String(error.code) : "";
    if (code === DISK_FULL || error.message.includes(DISK_FULL)) return this.full(error);
    if (code === SLOW || SLOW_WORDS.test(error.message)) return this.slow(error);
    return AWAY.test(code) || AWAY_WORDS.test(error.message) ? this.away(error) : error;
  }

  /** What was under way is undone; reading goes on. */
  private full(cause: Error): DomainError {
    if (this.complaints.isDue("full"))
      this.logger?.error({ err: cause }, "the disk of the database is full: make room there, nothing is lost");
    return new DomainError(
      "UNAVAILABLE",
      "The server has no room to store this. Try again later: its operator has to make room.",
      { retryable: true, retryAfterMs: FULL_RETRY_AFTER_MS, cause },
    );
  }

  /** What was under way is undone. */
  private slow(cause: Error): DomainError {
    if (this.complaints.isDue("slow"))
      this.logger?.error({ err: cause }, "the database was too slow: what took too long was ended");
    return new DomainError(
      "UNAVAILABLE",
      "The database of this server is too slow at the moment: what was asked for took too long, and was undone. Try again in a few seconds.",
      { retryable: true, retryAfterMs: SLOW_RETRY_AFTER_MS, cause },
    );
  }

  /** Whether what was under way was committed, nobody knows. */
  private away(cause: Error): DomainError {
    if (this.complaints.isDue("away")) this.logger?.error({ err: cause }, "the database cannot be reached");
    return new DomainError(
      "UNAVAILABLE",
      "The database of this server cannot be reached at the moment. Try again in a few seconds. A change that was asked for may have been made: repeat it with the same idempotency key, or look first.",
      { retryable: true, retryAfterMs: AWAY_RETRY_AFTER_MS, cause },
    );
  }
}
