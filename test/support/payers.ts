/** A tenant's member with a key who queues, starts and ends generations, straight in the database. */
import { v7 } from "uuid";
import type { GenerationState, LimitKind, LimitLevel, LimitWindow } from "../../src/generated/prisma/enums.ts";
import { claimAll } from "../../src/generation/claim.store.ts";
import { type Candidate, takeIn } from "../../src/generation/intake.store.ts";
import { finishQueued, finishRunning } from "../../src/generation/transition.store.ts";
import { asDispatcher, asPlatform, asTenant } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { amountsOf, type Demand } from "../../src/quota/demand.ts";
import { findLimit, type Payer, platformKey, saveLimit } from "../../src/quota/limit.store.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { quotaError } from "../../src/quota/quota-error.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";

const SETTINGS = {
  prompt: "x",
  unconditionalPrompt: "y",
  width: 1,
  height: 1,
  count: 1,
  steps: 10,
  guidanceScale: 1,
  guidanceSchedule: "CONSTANT",
  temperature: 1,
  speed: "EXACT",
  seed: "0",
} as const;

export interface LimitWish {
  readonly level: LimitLevel;
  readonly kind: LimitKind;
  readonly window?: LimitWindow;
  readonly isRolling?: boolean;
}

const quota = new QuotaService();

/** A generation of one pixel and ten steps. */
export function candidateFor(payer: Payer, id: string, demand: Demand): Candidate {
  const { tenantId, userId } = payer;
  const task = { kind: "TEXT_TO_IMAGE", settings: SETTINGS } as const;
  return {
    generation: {
      ...payer,
      id,
      pool: "p",
      preset: "tiny",
      priority: "STANDARD",
      task,
      deadlineMs: undefined,
      parentId: null,
      traceparent: null,
    },
    use: { tenantId, userId, field: "createGeneration", key: id, bodyHash: "", createdId: id },
    demand,
  };
}

export async function addPayer(db: Database, credits: bigint) {
  const tenantId = await db.transaction(asPlatform, async (tx) => {
    const id = await insertTenant(tx, "test");
    await quota.grant(tx, id, { credits, reason: "test" });
    return id;
  });
  return addMemberPayer(db, tenantId);
}

/** Another member of a tenant. */
export async function addMemberPayer(db: Database, tenantId: string) {
  const member = { tenantId, role: "MEMBER", name: "test", isPlatformAdmin: false } as const;
  const userId = await db.transaction(asPlatform, (tx) => insertMember(tx, member));
  const payer: Payer = { tenantId, userId, apiKeyId: v7() };
  const keyOf = ({ level, kind, window = "TOTAL" }: LimitWish) => {
    const subject = {
      PLATFORM: platformKey,
      TENANT: { tenantId, level, subjectId: tenantId },
      MEMBER: { tenantId, level, subjectId: userId },
      API_KEY: { tenantId, level, subjectId: payer.apiKeyId ?? "" },
    }[level];
    return { ...subject, kind, window };
  };
  return {
    payer,
    limit: (wish: LimitWish, max: bigint) =>
      db.transaction(asPlatform, (tx) => saveLimit(tx, { ...keyOf(wish), isRolling: wish.isRolling ?? false, max })),
    find: (wish: LimitWish) => db.transaction(asPlatform, (tx) => findLimit(tx, keyOf(wish))),
    /** As if so much time had passed since a limit's window began. */
    age: (wish: LimitWish, seconds: number) =>
      db.transaction(asPlatform, (tx) => {
        const { tenantId: of, level, subjectId, kind, window } = keyOf(wish);
        return tx.$executeRaw`update limits set window_start = window_start - make_interval(secs => ${seconds})
          where tenant_id = ${of}::uuid and level = ${level}::limit_level and subject_id = ${subjectId}::uuid and kind = ${kind}::limit_kind and "window" = ${window}::limit_window`;
      }),
    async queue(credits: bigint, pixels = 0n): Promise<string> {
      const id = v7();
      await db.transaction(asTenant(tenantId), async (tx) => {
        const [intake] = await takeIn(tx, tenantId, [candidateFor(payer, id, { credits, pixels })]);
        if (intake !== undefined && "refusing" in intake)
          throw quotaError(intake.refusing, amountsOf({ credits, pixels }, false));
      });
      return id;
    },
    /** The lease, or undefined when it may not run now. */
    async start(generationId: string) {
      const fence = { generationId, leaseId: v7() };
      const claim = { ...fence, worker: "test", predictedMs: 1000, share: 1 };
      const outcomes = await claimAll(db.singly(asDispatcher), { holder: v7(), leaseSeconds: 60 }, [claim]);
      return typeof outcomes?.[0] === "object" ? fence : undefined;
    },
    finish: (fence: { generationId: string; leaseId: string }, charge: bigint, state: GenerationState = "SUCCEEDED") =>
      db.transaction(asDispatcher, async (tx) => {
        await finishRunning(tx, fence, { state, attempt: { outcome: "SUCCEEDED", stepsDone: 1 }, storedBytes: 100 });
        const { credits } = await tx.reservation.findFirstOrThrow({ where: { generationId: fence.generationId } });
        await quota.settle(tx, fence.generationId, {
          done: charge,
          whole: credits,
          reason: "test",
          work: { task: "TEXT_TO_IMAGE", hasSucceeded: state === "SUCCEEDED", pixels: 1n },
        });
      }),
    cancel: (generationId: string) =>
      db.transaction(asTenant(tenantId), async (tx) => {
        await finishQueued(tx, generationId, { state: "CANCELED" });
        await quota.settle(tx, generationId, { done: 0n, whole: 1n, reason: "test" });
      }),
  };
}
