-- Milestones and attempts of generations that ended long ago are deleted. Their end can still be told from their own row.

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "pruned_at" TIMESTAMPTZ(3);

-- Dead letters are looked at and replayed: they keep theirs until they are deleted.
CREATE INDEX "generation_prunable_idx" ON "generation" ("finished_at") WHERE "finished_at" IS NOT NULL AND "pruned_at" IS NULL
  AND (NOT "is_dead_letter" OR "deleted_at" IS NOT NULL);

GRANT DELETE ON "attempt", "milestone" TO atelier_dispatcher;
