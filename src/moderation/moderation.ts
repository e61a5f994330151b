/** Asks the checks of a tenant, in order, about what is wanted. Opens transactions of its own, and asks outside of them. */

import type { ModerationStage } from "../generated/prisma/enums.ts";
import { asTenant } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import type { Check, Finding, Subject } from "./check.ts";
import { PolicyCache } from "./policy-cache.ts";
import { insertVerdicts, type Verdict } from "./verdict.store.ts";

/** What the checks said, up to the first one that blocks. */
export interface Ruling {
  readonly verdicts: readonly Verdict[];
  /** Why it must not go on: CONTENT_BLOCKED. */
  readonly refusal: DomainError | undefined;
}

export class Moderation {
  readonly policies: PolicyCache;

  constructor(private readonly services: { readonly db: Database; readonly clock: Clock }) {
    this.policies = new PolicyCache(services);
  }

  /** Whether there is anything to ask. */
  async applies(tenantId: string, stage: ModerationStage): Promise<boolean> {
    return (await this.policies.checksOf(tenantId)).some(({ stages }) => stages.includes(stage));
  }

  async judge(subject: Subject): Promise<Ruling> {
    const verdicts: Verdict[] = [];
    for (const check of await this.policies.checksOf(subject.tenantId)) {
      if (!check.stages.includes(subject.stage)) continue;
      const finding = await check.judge(subject);
      const verdict = verdictOf(check, finding, subject);
      verdicts.push(verdict);
      if (verdict.decision === "BLOCKED") return { verdicts, refusal: blockedError(verdict, finding) };
    }
    return { verdicts, refusal: undefined };
  }

  /** The verdicts, if all checks let it pass. Otherwise notes who was refused what by whom, and throws the refusal. */
  async admit(subject: Subject, userId: string): Promise<readonly Verdict[]> {
    const { verdicts, refusal } = await this.judge(subject);
    if (refusal === undefined) return verdicts;
    const { tenantId } = subject;
    await this.services.db.transaction(asTenant(tenantId), (tx) =>
      insertVerdicts(tx, [{ tenantId, userId, generationId: null, verdicts }]),
    );
    throw refusal;
  }
}

function verdictOf({ name, level, mode }: Check, { isObjection, category }: Finding, { stage }: Subject): Verdict {
  const decision = !isObjection ? "ALLOWED" : mode === "REPORT" ? "REPORTED" : "BLOCKED";
  return { stage, level, checkName: name, decision, category };
}

/** Says who refused, never what was found: the words of a list are not for those who look for a way around it. */
function blockedError({ checkName: check, category }: Verdict, { path = ["input", "task"] }: Finding): DomainError {
  const why = category === null ? "" : ` (${category})`;
  return new DomainError(
    "CONTENT_BLOCKED",
    `The check "${check}" refuses this text${why}. Change it, or ask an administrator of your tenant.`,
    { path, type: "ModerationError", facts: { check, category } },
  );
}
