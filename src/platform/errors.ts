/** Errors that a caller can understand and act on. Everything else is a fault of ours and reaches callers as INTERNAL. */

export const DOMAIN_ERROR_CODES = [
  "UNAUTHENTICATED",
  "INVALID_INPUT",
  "NOT_FOUND",
  "FORBIDDEN",
  "TENANT_SUSPENDED",
  "VERSION_MISMATCH",
  "PRESET_NOT_ALLOWED",
  "LAST_OWNER",
  "IDEMPOTENCY_KEY_REUSED",
  "DEADLINE_UNREACHABLE",
  "CONTENT_BLOCKED",
  "QUOTA_EXHAUSTED",
  "RATE_LIMITED",
  "TOO_EXPENSIVE",
  "NOT_CANCELLABLE",
  "NOT_DELETABLE",
  "NOT_REPLAYABLE",
  "UNAVAILABLE",
] as const;
export type DomainErrorCode = (typeof DOMAIN_ERROR_CODES)[number];

export interface DomainErrorDetails {
  /** Path of the offending input, such as ["input", "task", "textToImage", "steps"]. */
  readonly path?: readonly string[];
  /** The same call can succeed later. */
  readonly retryable?: boolean;
  readonly retryAfterMs?: number;
  /** Public type of the error; GenericError unless it carries facts of its own. */
  readonly type?: string;
  readonly facts?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** What happened and what to do about it. Thrown by services; the API gives it its public form. */
export class DomainError extends Error {
  override readonly name = "DomainError";

  constructor(
    readonly code: DomainErrorCode,
    message: string,
    readonly details: DomainErrorDetails = {},
  ) {
    super(message, { cause: details.cause });
  }
}

/** Several at once: a caller with many mistakes mends them in one go. */
export class DomainErrors extends Error {
  override readonly name = "DomainErrors";

  constructor(readonly errors: readonly DomainError[]) {
    super(errors.map(({ message }) => message).join(" "));
  }
}

/** Stops the program's current act when our own assumption is wrong. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${message}`);
}

/** A start that cannot succeed: the message goes to the operator as it is, without a stack. */
export class StartupError extends Error {
  override readonly name = "StartupError";
}
