/**
 * Who is connected, and still allowed to be: one query every two seconds for all open sockets of this process, of all
 * tenants. A caller whose key, membership, role or token has changed for the worse is told, once.
 */
import { asAnyone } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import type { Metrics } from "../platform/metrics.ts";
import { Ticker } from "../platform/ticker.ts";
import { type CallerState, recheckCallers } from "./auth.store.ts";
import type { Principal } from "./principal.ts";
import { REFUSALS } from "./refusals.ts";

const INTERVAL_MS = 2000;

interface Caller {
  readonly principal: Principal;
  readonly onRefused: (reason: string) => void;
}

export class CallerWatch {
  private readonly callers = new Set<Caller>();
  private readonly ticker: Ticker;

  constructor(private readonly services: { db: Database; clock: Clock; logger: Logger; metrics: Metrics }) {
    const { logger, metrics } = services;
    const runOnce = () => this.checkOnce();
    this.ticker = new Ticker({ name: "callers", intervalMs: INTERVAL_MS, runOnce, logger, metrics });
  }

  start(): void {
    this.ticker.start();
  }

  stop(): Promise<void> {
    return this.ticker.stop();
  }

  /** Calls `onRefused` at most once, with the reason in at most 123 bytes. @returns a function that stops watching */
  watch(principal: Principal, onRefused: (reason: string) => void): () => void {
    const caller = { principal, onRefused };
    this.callers.add(caller);
    return () => void this.callers.delete(caller);
  }

  private async checkOnce(): Promise<void> {
    const { db, clock } = this.services;
    const callers = [...this.callers];
    if (callers.length === 0) return;
    const states = await db.transaction(asAnyone, (tx) =>
      recheckCallers(
        tx,
        callers.map(({ principal }) => principal),
      ),
    );
    for (const [index, caller] of callers.entries()) {
      const state = states[index];
      const reason = state && refusalOf(caller.principal, state, clock.now());
      if (reason !== undefined && this.callers.delete(caller)) caller.onRefused(reason);
    }
  }
}

function refusalOf(principal: Principal, state: CallerState, now: Date): string | undefined {
  const { role, refusal, isSuspended, isPlatformAdmin } = state;
  if (refusal !== null) return REFUSALS[refusal];
  if (principal.apiKeyId === null && principal.expiresAt !== null && principal.expiresAt <= now)
    return "Your sign-in has expired. Sign in again.";
  if (role !== principal.role) return `Your role is ${role} now. Connect again.`;
  if (isPlatformAdmin !== principal.isPlatformAdmin) return "Your rights on the platform have changed. Connect again.";
  if (isSuspended && !principal.isSuspended) return "Your tenant is suspended: connect again to read.";
  return undefined;
}
