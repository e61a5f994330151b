-- CreateEnum
CREATE TYPE "role" AS ENUM ('OWNER', 'ADMIN', 'OPERATOR', 'MEMBER', 'VIEWER');

-- CreateEnum
CREATE TYPE "limit_level" AS ENUM ('TENANT');

-- CreateEnum
CREATE TYPE "limit_kind" AS ENUM ('CREDITS');

-- CreateEnum
CREATE TYPE "ledger_kind" AS ENUM ('GRANT', 'RESERVE', 'SETTLE', 'RELEASE');

-- CreateEnum
CREATE TYPE "task_kind" AS ENUM ('TEXT_TO_IMAGE');

-- CreateEnum
CREATE TYPE "priority" AS ENUM ('INTERACTIVE', 'STANDARD', 'BATCH');

-- CreateEnum
CREATE TYPE "generation_state" AS ENUM ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELED', 'EXPIRED', 'DEAD_LETTERED');

-- CreateEnum
CREATE TYPE "attempt_outcome" AS ENUM ('SUCCEEDED', 'FAILED', 'CANCELED', 'YIELDED', 'RETURNED', 'ORPHANED');

-- CreateEnum
CREATE TYPE "milestone_kind" AS ENUM ('QUEUED', 'STARTED', 'ATTEMPT_FAILED', 'FINISHED');

-- CreateTable
CREATE TABLE "tenant" (
    "id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "tenant_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "user_account" (
    "id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "is_platform_admin" BOOLEAN NOT NULL DEFAULT false,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "user_account_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "membership" (
    "tenant_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "role" "role" NOT NULL,

    CONSTRAINT "membership_pkey" PRIMARY KEY ("tenant_id","user_id")
);

-- CreateTable
CREATE TABLE "api_key" (
    "id" UUID NOT NULL,
    "tenant_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "prefix" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "revoked_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_key_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "limits" (
    "tenant_id" UUID NOT NULL,
    "level" "limit_level" NOT NULL,
    "kind" "limit_kind" NOT NULL,
    "max" BIGINT NOT NULL,
    "used" BIGINT NOT NULL DEFAULT 0,
    "held" BIGINT NOT NULL DEFAULT 0,

    CONSTRAINT "limits_pkey" PRIMARY KEY ("tenant_id","level","kind")
);

-- CreateTable
CREATE TABLE "reservation" (
    "generation_id" UUID NOT NULL,
    "tenant_id" UUID NOT NULL,
    "credits" BIGINT NOT NULL,
    "settled" BIGINT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "reservation_pkey" PRIMARY KEY ("generation_id")
);

-- CreateTable
CREATE TABLE "ledger_entry" (
    "id" UUID NOT NULL,
    "tenant_id" UUID NOT NULL,
    "kind" "ledger_kind" NOT NULL,
    "credits" BIGINT NOT NULL,
    "held" BIGINT NOT NULL,
    "generation_id" UUID,
    "reason" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "ledger_entry_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "generation" (
    "id" UUID NOT NULL,
    "tenant_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "api_key_id" UUID NOT NULL,
    "pool" TEXT NOT NULL,
    "preset" TEXT NOT NULL,
    "task" "task_kind" NOT NULL,
    "priority" "priority" NOT NULL,
    "state" "generation_state" NOT NULL DEFAULT 'QUEUED',
    "settings" JSONB NOT NULL,
    "total_steps" INTEGER NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),
    "deadline_at" TIMESTAMPTZ(3),
    "not_before" TIMESTAMPTZ(3),
    "cancel_requested_at" TIMESTAMPTZ(3),
    "attempt" INTEGER NOT NULL DEFAULT 0,
    "failed_attempts" INTEGER NOT NULL DEFAULT 0,
    "lease_id" UUID,
    "lease_holder" UUID,
    "lease_expires_at" TIMESTAMPTZ(3),
    "milestone_seq" INTEGER NOT NULL DEFAULT 0,
    "failure_code" TEXT,
    "failure_message" TEXT,
    "recipe" JSONB,

    CONSTRAINT "generation_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "attempt" (
    "generation_id" UUID NOT NULL,
    "number" INTEGER NOT NULL,
    "lease_id" UUID NOT NULL,
    "worker" TEXT NOT NULL,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(3),
    "outcome" "attempt_outcome",
    "message" TEXT,
    "steps_done" INTEGER NOT NULL DEFAULT 0,
    "checkpoint_steps" INTEGER,
    "checkpoint" BYTEA,

    CONSTRAINT "attempt_pkey" PRIMARY KEY ("generation_id","number")
);

-- CreateTable
CREATE TABLE "milestone" (
    "generation_id" UUID NOT NULL,
    "seq" INTEGER NOT NULL,
    "kind" "milestone_kind" NOT NULL,
    "attempt" INTEGER NOT NULL,
    "state" "generation_state" NOT NULL,
    "message" TEXT,
    "failure_code" TEXT,
    "will_retry" BOOLEAN NOT NULL DEFAULT false,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "milestone_pkey" PRIMARY KEY ("generation_id","seq")
);

-- CreateTable
CREATE TABLE "image" (
    "id" UUID NOT NULL,
    "tenant_id" UUID NOT NULL,
    "generation_id" UUID NOT NULL,
    "index" INTEGER NOT NULL,
    "storage_key" TEXT NOT NULL,
    "width" INTEGER NOT NULL,
    "height" INTEGER NOT NULL,
    "mime_type" TEXT NOT NULL,
    "size_bytes" INTEGER NOT NULL,
    "sha256" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "image_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "idempotency_record" (
    "tenant_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "field" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "body_hash" TEXT NOT NULL,
    "generation_id" UUID NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "idempotency_record_pkey" PRIMARY KEY ("tenant_id","user_id","field","key")
);

-- CreateTable
CREATE TABLE "pool" (
    "name" TEXT NOT NULL,
    "presets" JSONB NOT NULL,
    "seen_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "pool_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "pool_lease" (
    "pool" TEXT NOT NULL,
    "holder" UUID NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "pool_lease_pkey" PRIMARY KEY ("pool")
);

-- CreateIndex
CREATE UNIQUE INDEX "api_key_hash_key" ON "api_key"("hash");

-- CreateIndex
CREATE INDEX "ledger_entry_tenant_id_id_idx" ON "ledger_entry"("tenant_id", "id");

-- CreateIndex
CREATE INDEX "generation_tenant_id_id_idx" ON "generation"("tenant_id", "id" DESC);

-- CreateIndex
CREATE INDEX "generation_tenant_id_user_id_id_idx" ON "generation"("tenant_id", "user_id", "id" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "attempt_lease_id_key" ON "attempt"("lease_id");

-- CreateIndex
CREATE UNIQUE INDEX "image_generation_id_index_key" ON "image"("generation_id", "index");

-- CreateIndex
CREATE INDEX "idempotency_record_created_at_idx" ON "idempotency_record"("created_at");

-- AddForeignKey
ALTER TABLE "membership" ADD CONSTRAINT "membership_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "membership" ADD CONSTRAINT "membership_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user_account"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_tenant_id_user_id_fkey" FOREIGN KEY ("tenant_id", "user_id") REFERENCES "membership"("tenant_id", "user_id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "limits" ADD CONSTRAINT "limits_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "reservation" ADD CONSTRAINT "reservation_generation_id_fkey" FOREIGN KEY ("generation_id") REFERENCES "generation"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "generation" ADD CONSTRAINT "generation_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_generation_id_fkey" FOREIGN KEY ("generation_id") REFERENCES "generation"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "milestone" ADD CONSTRAINT "milestone_generation_id_fkey" FOREIGN KEY ("generation_id") REFERENCES "generation"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "image" ADD CONSTRAINT "image_generation_id_fkey" FOREIGN KEY ("generation_id") REFERENCES "generation"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- What a claim looks for. Partial, so that the queue's indexes do not grow with the history.
CREATE INDEX "generation_queued_idx" ON "generation" ("pool", "priority", "created_at", "id") WHERE "state" = 'QUEUED';

-- What the rescuer and the lease extension look for.
CREATE INDEX "generation_running_idx" ON "generation" ("pool", "lease_expires_at") WHERE "state" = 'RUNNING';

-- What the deadline duty looks for.
CREATE INDEX "generation_deadline_idx" ON "generation" ("deadline_at") WHERE "state" = 'QUEUED' AND "deadline_at" IS NOT NULL;

-- Reservations that no generation has ended yet.
CREATE INDEX "reservation_open_idx" ON "reservation" ("tenant_id") WHERE "ended_at" IS NULL;

-- Never more than allowed, whatever a query does.
ALTER TABLE "limits" ADD CONSTRAINT "limits_within_max" CHECK ("used" >= 0 AND "held" >= 0 AND "used" + "held" <= "max");
ALTER TABLE "reservation" ADD CONSTRAINT "reservation_settled_within" CHECK ("settled" IS NULL OR ("settled" >= 0 AND "settled" <= "credits"));

-- The ledger is append-only.
CREATE FUNCTION "refuse_change"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'ledger_entry is append-only';
END
$$;
CREATE TRIGGER "ledger_entry_append_only" BEFORE UPDATE OR DELETE ON "ledger_entry"
  FOR EACH ROW EXECUTE FUNCTION "refuse_change"();
