-- What an operator needs of dead letters: to find them, and to replay them.

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "parent_id" UUID;

CREATE INDEX "generation_replays_idx" ON "generation" ("parent_id", "id" DESC) WHERE "parent_id" IS NOT NULL;

-- Of a tenant, and of all: few of what has ended.
CREATE INDEX "generation_dead_letters_of_tenant_idx" ON "generation" ("tenant_id", "id" DESC) WHERE "state" = 'DEAD_LETTERED' AND "deleted_at" IS NULL;
CREATE INDEX "generation_dead_letters_idx" ON "generation" ("id" DESC) WHERE "state" = 'DEAD_LETTERED' AND "deleted_at" IS NULL;
