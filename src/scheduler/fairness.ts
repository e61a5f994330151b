/**
 * Who was entitled to how much of a pool in a minute, and who got it. Entitled to it are tenants with demand, those of whom
 * something waited or ran in that minute: each to the part of what the pool's workers did that its weight is of the weights of
 * all of them. Who could not use all of that, because nothing of it waited, lends the rest; who got more than its part borrowed
 * what was lent.
 */

export const MINUTE_MS = 60_000;

/** Of a tenant with demand, in one minute. */
export interface Demand {
  readonly tenantId: string;
  /** Its part of the service, against 1 of any other. */
  readonly weight: number;
  /** Milliseconds of workers that its attempts took. */
  receivedMs: number;
  /** Milliseconds for which something of it waited: at most a minute. */
  waitedMs: number;
}

export interface Share {
  readonly tenantId: string;
  /** Milliseconds of workers that all tenants received together. */
  readonly poolMs: number;
  readonly entitledMs: number;
  readonly receivedMs: number;
  /** Entitled, not received, and not waited for either. */
  readonly lentMs: number;
  /** Received above what was entitled, as far as others lent it. */
  readonly borrowedMs: number;
}

export function sharesOf(demands: readonly Demand[]): readonly Share[] {
  const poolMs = sum(demands.map(({ receivedMs }) => receivedMs));
  const weights = sum(demands.map(({ weight }) => weight));
  const each = demands.map(({ tenantId, weight, receivedMs, waitedMs }) => {
    const entitledMs = (poolMs * weight) / weights;
    const lentMs = Math.max(0, entitledMs - receivedMs) * (1 - waitedMs / MINUTE_MS);
    return { tenantId, poolMs, entitledMs, receivedMs, lentMs, aboveMs: Math.max(0, receivedMs - entitledMs) };
  });
  const above = sum(each.map(({ aboveMs }) => aboveMs));
  const lent = sum(each.map(({ lentMs }) => lentMs));
  return each.map(({ aboveMs, ...share }) => ({ ...share, borrowedMs: above === 0 ? 0 : (aboveMs * lent) / above }));
}

/** Part of a span of time that lies in another one, in milliseconds. */
export const overlapMs = (a: Span, b: Span): number => Math.max(0, Math.min(a.to, b.to) - Math.max(a.from, b.from));

/** Milliseconds since 1970. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Milliseconds of a span that are in at least one of these. */
export function coveredMs(span: Span, spans: readonly Span[]): number {
  let covered = 0;
  let seenUntil = span.from;
  for (const { from, to } of spans.toSorted((a, b) => a.from - b.from)) {
    covered += overlapMs({ from: Math.max(from, seenUntil), to }, span);
    seenUntil = Math.max(seenUntil, to);
  }
  return covered;
}

/** Each bucket of waits ends this much later than the one before. */
const BUCKET_FACTOR = 1.25;
const MAX_BUCKET = 100;

/** Which bucket a wait counts in: 0 below a millisecond. */
export const bucketOf = (ms: number): number =>
  ms < 1 ? 0 : Math.min(MAX_BUCKET, 1 + Math.floor(Math.log(ms) / Math.log(BUCKET_FACTOR)));

/** The wait that a part of all waits do not exceed, to about a tenth; undefined where there are none. */
export function quantileMs(buckets: readonly number[], part: number): number | undefined {
  const total = sum(buckets);
  if (total === 0) return undefined;
  let before = 0;
  for (const [bucket, count] of buckets.entries()) {
    before += count;
    if (before >= part * total) return bucket === 0 ? 0 : BUCKET_FACTOR ** (bucket - 0.5);
  }
  return undefined;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
