/** What every operation passes before it runs, over either transport: may this caller ask this, and so much of it? */
import { type DocumentNode, visit } from "graphql";
import type { RequestContext } from "../auth/request-context.ts";
import { DomainError } from "../platform/errors.ts";
import type { CostBuckets, RateLimitState } from "./cost-buckets.ts";
import { costOf, MAX_COST, type Operation } from "./query-cost.ts";

/** As every answer tells it in its extensions. */
export interface CostReport {
  readonly cost: { readonly requested: number; readonly maximum: number };
  readonly rateLimit: RateLimitState;
}

export interface Admission {
  readonly report: CostReport;
  /** Why it may not run; undefined when it may. */
  readonly refusal: DomainError | undefined;
}

export class OperationGate {
  constructor(private readonly buckets: CostBuckets) {}

  async admit({ principal, caller }: RequestContext, operation: Operation): Promise<Admission> {
    const requested = costOf(operation);
    const report = (rateLimit: RateLimitState): CostReport => ({ cost: { requested, maximum: MAX_COST }, rateLimit });
    const early = principal === undefined ? refuseIntrospection(operation.document) : undefined;
    const refusal = early ?? refuseCost(requested);
    if (refusal !== undefined) return { report: report(await this.buckets.state(caller)), refusal };
    const { retryAfterMs, ...state } = await this.buckets.spend(caller, requested);
    return {
      report: report(state),
      refusal: retryAfterMs === undefined ? undefined : limited(requested, retryAfterMs),
    };
  }
}

/** The schema is for those who have a key. */
function refuseIntrospection(document: DocumentNode): DomainError | undefined {
  let asks = false;
  visit(document, {
    Field({ name }) {
      if (name.value === "__schema" || name.value === "__type") asks = true;
    },
  });
  if (!asks) return undefined;
  return new DomainError("UNAUTHENTICATED", "The schema is shown to callers with an API key only. Send one.");
}

function refuseCost(requested: number): DomainError | undefined {
  if (requested <= MAX_COST) return undefined;
  const message = `This costs ${requested} points; one request may cost ${MAX_COST}. Ask for smaller pages or fewer fields.`;
  return new DomainError("TOO_EXPENSIVE", message);
}

function limited(requested: number, retryAfterMs: number): DomainError {
  const seconds = Math.ceil(retryAfterMs / 1000);
  const message = `This costs ${requested} points, more than your rate limit has left. Try again in ${seconds} s.`;
  return new DomainError("RATE_LIMITED", message, { retryable: true, retryAfterMs });
}
