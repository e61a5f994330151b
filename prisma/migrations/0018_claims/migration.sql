-- What claims need: which generations came into the queue since the last time, whose turn is worth how much, and the queue by
-- whose it is and by what serves it.

-- AlterTable
ALTER TABLE "tenant" ADD COLUMN     "share_weight" DOUBLE PRECISION NOT NULL DEFAULT 1;
ALTER TABLE "tenant" ADD CONSTRAINT "tenant_share_weight_check" CHECK ("share_weight" > 0 AND "share_weight" <= 1000);
GRANT SELECT ("share_weight") ON "tenant" TO atelier_dispatcher;

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "queued_xid" xid8 NOT NULL DEFAULT pg_current_xact_id();

-- Few at a time are newer than what the pool's leader has seen.
CREATE INDEX "generation_arrivals_idx" ON "generation" ("pool", "queued_xid") WHERE "state" = 'QUEUED' AND NOT "parked";

-- One queue after the other; replaces both earlier ones.
DROP INDEX "generation_queued_idx";
DROP INDEX "generation_queued_by_subject_idx";
CREATE INDEX "generation_queued_by_subject_idx" ON "generation" ("pool", "tenant_id", "user_id", coalesce("api_key_id", '00000000-0000-0000-0000-000000000000'), "priority", "preset", "created_at", "id")
  WHERE "state" = 'QUEUED' AND NOT "parked";
