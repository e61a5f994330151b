-- Checks of what is asked for and of what is drawn, and what they decided.

-- CreateEnum
CREATE TYPE "moderation_level" AS ENUM ('PLATFORM', 'ASSIGNED', 'TENANT');

-- CreateEnum
CREATE TYPE "moderation_stage" AS ENUM ('PROMPT', 'IMAGE');

-- CreateEnum
CREATE TYPE "moderation_decision" AS ENUM ('ALLOWED', 'REPORTED', 'BLOCKED', 'UNAVAILABLE');

-- CreateTable
CREATE TABLE "moderation_policy" (
    "tenant_id" UUID NOT NULL,
    "level" "moderation_level" NOT NULL,
    "checks" JSONB NOT NULL,
    "version" INTEGER NOT NULL DEFAULT 1,
    "changed_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "moderation_policy_pkey" PRIMARY KEY ("tenant_id","level")
);

-- CreateTable
CREATE TABLE "moderation_verdict" (
    "id" UUID NOT NULL,
    "tenant_id" UUID NOT NULL,
    "generation_id" UUID,
    "user_id" UUID NOT NULL,
    "stage" "moderation_stage" NOT NULL,
    "image_index" INTEGER,
    "level" "moderation_level" NOT NULL,
    "check_name" TEXT NOT NULL,
    "decision" "moderation_decision" NOT NULL,
    "category" TEXT,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "moderation_verdict_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "moderation_policy_changed_at_idx" ON "moderation_policy"("changed_at");

-- CreateIndex
CREATE INDEX "moderation_verdict_tenant_id_id_idx" ON "moderation_verdict"("tenant_id", "id" DESC);

-- CreateIndex
CREATE INDEX "moderation_verdict_generation_id_idx" ON "moderation_verdict"("generation_id");

-- AddForeignKey
ALTER TABLE "moderation_verdict" ADD CONSTRAINT "moderation_verdict_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "moderation_verdict" ADD CONSTRAINT "moderation_verdict_generation_id_fkey" FOREIGN KEY ("generation_id") REFERENCES "generation"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Tenants see their checks and those of all tenants; those of their own administrators are the only ones they set.
ALTER TABLE "moderation_policy" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "moderation_policy" FORCE ROW LEVEL SECURITY;
CREATE POLICY "own_tenant" ON "moderation_policy" TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "of_all_tenants" ON "moderation_policy" FOR SELECT TO atelier_api
  USING ("level" = 'PLATFORM' AND cardinality("current_tenants"()) > 0);
CREATE POLICY "set_by_tenants" ON "moderation_policy" AS RESTRICTIVE FOR INSERT TO atelier_api WITH CHECK ("level" = 'TENANT');
CREATE POLICY "changed_by_tenants" ON "moderation_policy" AS RESTRICTIVE FOR UPDATE TO atelier_api USING ("level" = 'TENANT');
CREATE POLICY "all_tenants" ON "moderation_policy" TO atelier_dispatcher, atelier_platform USING (true);
GRANT SELECT, INSERT, UPDATE ON "moderation_policy" TO atelier_api;
-- Which policies have changed, for every process that asks the checks.
GRANT SELECT ("tenant_id", "level", "version", "changed_at") ON "moderation_policy" TO atelier_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON "moderation_policy" TO atelier_platform;

-- What was decided nobody changes; it goes with its generation or tenant.
ALTER TABLE "moderation_verdict" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "moderation_verdict" FORCE ROW LEVEL SECURITY;
CREATE POLICY "own_tenant" ON "moderation_verdict" TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "all_tenants" ON "moderation_verdict" TO atelier_dispatcher, atelier_platform USING (true);
GRANT SELECT, INSERT ON "moderation_verdict" TO atelier_api, atelier_dispatcher;
GRANT SELECT, INSERT, DELETE ON "moderation_verdict" TO atelier_platform;
