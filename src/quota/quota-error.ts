/** A refusal by limits in words and facts: which one, how much is left, and when there is room again. */
import type { LimitKind, LimitLevel } from "../generated/prisma/enums.ts";
import { DomainError } from "../platform/errors.ts";
import { formatAmount } from "./amount.ts";
import type { Amounts } from "./demand.ts";
import type { LimitRow } from "./limit.store.ts";

const LEVELS: readonly LimitLevel[] = ["PLATFORM", "TENANT", "MEMBER", "API_KEY"];
/** Milliseconds of rolling windows. */
const LENGTHS = { MINUTE: 60_000, HOUR: 3_600_000, DAY: 86_400_000, MONTH: 30 * 86_400_000 } as const;
const BUCKETS = 12;

/** Never negative: a limit may have been set below what is gone. */
export const availableOf = ({ max, used, held }: Pick<LimitRow, "max" | "used" | "held">): bigint =>
  max > used + held ? max - used - held : 0n;

/**
 * When time alone makes room for that much: undefined when it does not.
 * @param needed 0 asks when all that was used in the window is free again
 */
export function roomAt(row: LimitRow, needed: bigint): Date | undefined {
  const { window, isRolling, windowStart, max, used, held, buckets } = row;
  if (window === "TOTAL" || held + needed > max) return undefined;
  if (!isRolling) return nextWindow(row);
  const width = LENGTHS[window] / BUCKETS;
  let left = used;
  for (const [place, bucket] of (buckets ?? []).entries()) {
    left -= bucket;
    if (needed === 0n ? left === 0n : left + held + needed <= max)
      return new Date(windowStart.getTime() + (place + 1) * width);
  }
  return undefined;
}

function nextWindow({ window, now }: LimitRow): Date {
  const month = window === "MONTH" ? now.getUTCMonth() + 1 : now.getUTCMonth();
  const day = window === "MONTH" ? 1 : window === "DAY" ? now.getUTCDate() + 1 : now.getUTCDate();
  const hour = window === "HOUR" ? now.getUTCHours() + 1 : 0;
  return new Date(Date.UTC(now.getUTCFullYear(), month, day, hour));
}

interface Refusal {
  readonly row: LimitRow;
  readonly needed: bigint;
  readonly resetsAt: Date | undefined;
  readonly isRetryable: boolean;
}

/**
 * Of several limits that refuse, the one that makes the caller wait longest is named, so that waiting for it is enough: one
 * that never lets this through, then one without a time, then the one that resets last; of equals the narrowest.
 */
export function quotaError(refusing: readonly LimitRow[], amounts: Amounts): DomainError {
  const refusals = refusing.map((row) => refusalOf(row, amounts[row.kind as keyof Amounts] ?? 1n));
  const [worst] = refusals.sort(
    (a, b) =>
      Number(a.isRetryable) - Number(b.isRetryable) ||
      (b.resetsAt?.getTime() ?? Number.MAX_SAFE_INTEGER) - (a.resetsAt?.getTime() ?? Number.MAX_SAFE_INTEGER) ||
      LEVELS.indexOf(b.row.level) - LEVELS.indexOf(a.row.level),
  );
  if (worst === undefined) throw new Error("no limit refuses");
  const { row, needed, resetsAt, isRetryable } = worst;
  const amount = (value: bigint): string => formatAmount(row.kind, value);
  return new DomainError("QUOTA_EXHAUSTED", wordsOf(worst), {
    type: "QuotaError",
    retryable: isRetryable,
    ...(resetsAt && { retryAfterMs: Math.max(1, resetsAt.getTime() - row.now.getTime()) }),
    facts: {
      level: row.level,
      kind: row.kind,
      limit: amount(row.max),
      used: amount(row.used),
      held: amount(row.held),
      needed: amount(needed),
      available: amount(availableOf(row)),
      resetsAt,
    },
  });
}

function refusalOf(row: LimitRow, needed: bigint): Refusal {
  const { kind, window, max, used, held } = row;
  const isRetryable =
    kind === "STORAGE_BYTES" ? false : window === "TOTAL" ? held > 0n && used + needed <= max : needed <= max;
  return { row, needed, resetsAt: isRetryable ? roomAt(row, needed) : undefined, isRetryable };
}

const OWNERS: Record<LimitLevel, string> = {
  PLATFORM: "this server",
  TENANT: "the tenant",
  MEMBER: "the member",
  API_KEY: "this API key",
};
const NOUNS: Record<LimitKind, string> = {
  RUNNING: "running generations",
  QUEUED: "queued generations",
  REQUESTS_PER_MINUTE: "requests a minute",
  PIXELS_PER_MINUTE: "pixels a minute",
  STORAGE_BYTES: "bytes of storage",
  CREDITS: "credits",
};

function wordsOf({ row, needed, resetsAt, isRetryable }: Refusal): string {
  const { kind, level, window, isRolling } = row;
  const span =
    kind !== "CREDITS" || window === "TOTAL"
      ? ""
      : isRolling
        ? ` in any ${window.toLowerCase()}`
        : ` each ${window.toLowerCase()}`;
  const left = `${OWNERS[level]} has ${formatAmount(kind, availableOf(row))} of ${formatAmount(kind, row.max)} ${NOUNS[kind]}${span} left`;
  return `This needs ${formatAmount(kind, needed)}, and ${left}. ${adviceOf(row, resetsAt, isRetryable)}`;
}

function adviceOf({ kind, held, max }: LimitRow, resetsAt: Date | undefined, isRetryable: boolean): string {
  if (resetsAt !== undefined) return `Try again at ${resetsAt.toISOString()}.`;
  if (kind === "STORAGE_BYTES") return "Delete what is not needed, or ask an administrator for more.";
  if (isRetryable && held > 0n)
    return "Wait for queued and running generations to end, or ask an administrator for more.";
  return max === 0n ? "Ask an administrator." : "Ask for less, or ask an administrator for more.";
}
