/** Asks the checks of a tenant, in order, about what is wanted. Opens transactions of its own, and asks outside of them. */

import type { ModerationDecision, ModerationStage } from "../generated/prisma/enums.ts";
import { asTenant } from "../platform/access.ts";
import { DomainError } from "../platform/errors.ts";
import type { Check, DrawnPicture, Finding, ModerationMode, Subject } from "./check.ts";
import { PolicyCache, type PolicyCacheServices } from "./policy-cache.ts";
import { insertVerdicts, type Verdict } from "./verdict.store.ts";

/** Of input that has no more exact place. */
const TASK = ["input", "task"];
const RETRY_AFTER_MS = 5000;

/** What the checks said, up to the first one that blocks. */
export interface Ruling {
  readonly verdicts: readonly Verdict[];
  /** Why it must not go on: CONTENT_BLOCKED, or UNAVAILABLE for the time being. */
  readonly refusal: DomainError | undefined;
}

export class Moderation {
  readonly policies: PolicyCache;

  constructor(private readonly services: PolicyCacheServices) {
    this.policies = new PolicyCache(services);
  }

  /** Whether there is anything to ask. */
  async applies(tenantId: string, stage: ModerationStage): Promise<boolean> {
    return (await this.policies.checksOf(tenantId)).some(({ stages }) => stages.includes(stage));
  }

  /** Whether pictures may be refused, so that nobody must see them before they are judged. */
  async mayBlockPictures(tenantId: string): Promise<boolean> {
    const checks = await this.policies.checksOf(tenantId);
    return checks.some(({ stages, mode }) => stages.includes("IMAGE") && mode === "BLOCK");
  }

  /** Of all pictures of a generation together: one that is refused is the refusal of all. */
  async judgePictures(
    { tenantId, generationId, pictures }: { tenantId: string; generationId: string; pictures: readonly DrawnPicture[] },
    signal: AbortSignal,
  ): Promise<Ruling> {
    const subjects = pictures.map((picture) => ({ stage: "IMAGE", tenantId, generationId, picture }) as const);
    const rulings = await Promise.all(subjects.map((subject) => this.judge(subject, signal)));
    const refusals = rulings.flatMap(({ refusal }) => refusal ?? []);
    const refusal = refusals.find(({ code }) => code === "CONTENT_BLOCKED") ?? refusals[0];
    return { verdicts: rulings.flatMap(({ verdicts }) => verdicts), refusal };
  }

  /** @throws the signal's reason when it is aborted */
  async judge(subject: Subject, signal: AbortSignal): Promise<Ruling> {
    const verdicts: Verdict[] = [];
    for (const check of await this.policies.checksOf(subject.tenantId)) {
      if (!check.stages.includes(subject.stage)) continue;
      const finding = await check.judge(subject, signal);
      const verdict = verdictOf(check, finding, subject);
      verdicts.push(verdict);
      if (verdict.decision === "BLOCKED") return { verdicts, refusal: blockedError(verdict, finding) };
      if (finding === undefined && check.mode === "BLOCK" && check.whenUnavailable === "REFUSE")
        return { verdicts, refusal: unavailableError(check) };
    }
    return { verdicts, refusal: undefined };
  }

  /** The verdicts, if all checks let it pass. Otherwise notes who was refused what by whom, and throws the refusal. */
  async admit(subject: Subject, userId: string): Promise<readonly Verdict[]> {
    const { verdicts, refusal } = await this.judge(subject, new AbortController().signal);
    if (refusal === undefined) return verdicts;
    const { tenantId } = subject;
    if (refusal.code === "CONTENT_BLOCKED")
      await this.services.db.transaction(asTenant(tenantId), (tx) =>
        insertVerdicts(tx, [{ tenantId, userId, generationId: null, verdicts }]),
      );
    throw refusal;
  }
}

function verdictOf({ name, level, mode }: Check, finding: Finding | undefined, subject: Subject): Verdict {
  const imageIndex = subject.stage === "IMAGE" ? subject.picture.index : null;
  const decision = decisionOf(finding, mode);
  return { stage: subject.stage, imageIndex, level, checkName: name, decision, category: finding?.category ?? null };
}

function decisionOf(finding: Finding | undefined, mode: ModerationMode): ModerationDecision {
  if (finding === undefined) return "UNAVAILABLE";
  if (!finding.isObjection) return "ALLOWED";
  return mode === "REPORT" ? "REPORTED" : "BLOCKED";
}

/** Says who refused, never what was found: the words of a list are not for those who look for a way around it. */
function blockedError({ stage, checkName: check, category }: Verdict, finding: Finding | undefined): DomainError {
  const why = category === null ? "" : ` (${category})`;
  const what = stage === "PROMPT" ? "text" : "picture";
  return new DomainError(
    "CONTENT_BLOCKED",
    `The check "${check}" refuses this ${what}${why}. Ask for something else, or ask an administrator of your tenant.`,
    { path: finding?.path ?? TASK, type: "ModerationError", facts: { check, category } },
  );
}

const unavailableError = ({ name }: Check): DomainError =>
  new DomainError("UNAVAILABLE", `The check "${name}" cannot be asked at the moment. Try again soon.`, {
    path: TASK,
    retryable: true,
    retryAfterMs: RETRY_AFTER_MS,
  });
