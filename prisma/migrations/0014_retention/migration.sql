-- How long tenants keep what they have; and uploads count as stored.

-- AlterTable
ALTER TABLE "tenant" ADD COLUMN     "inputs_days" INTEGER,
ADD COLUMN     "outputs_days" INTEGER,
ADD COLUMN     "prompts_days" INTEGER;

-- AlterTable
ALTER TABLE "upload" ADD COLUMN     "api_key_id" UUID,
ADD COLUMN     "stored_bytes" INTEGER NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "batch" ADD COLUMN     "texts_deleted_at" TIMESTAMPTZ(3);

-- What was finished before is kept in another size than it was sent in, which nobody noted.
UPDATE "upload" SET "stored_bytes" = "size_bytes" WHERE "status" = 'READY';

-- What the duty looks for: of each tenant the oldest that is still there.
CREATE INDEX "image_kept_idx" ON "image" ("tenant_id", "created_at") WHERE "deleted_at" IS NULL;
CREATE INDEX "upload_kept_idx" ON "upload" ("tenant_id", "created_at") WHERE "status" = 'READY';
CREATE INDEX "generation_answer_idx" ON "generation" ("tenant_id", "finished_at") WHERE "answer" IS NOT NULL;
CREATE INDEX "generation_texts_idx" ON "generation" ("tenant_id", "finished_at") WHERE "finished_at" IS NOT NULL AND "texts_deleted_at" IS NULL;
CREATE INDEX "batch_texts_idx" ON "batch" ("tenant_id", "finished_at") WHERE "finished_at" IS NOT NULL AND "texts_deleted_at" IS NULL;

GRANT SELECT ("outputs_days", "inputs_days", "prompts_days") ON "tenant" TO atelier_dispatcher;
GRANT UPDATE ("outputs_days", "inputs_days", "prompts_days", "version") ON "tenant" TO atelier_api;

-- What members and keys of a tenant store becomes more, or less: [{"user_id", "api_key_id", "bytes"}]. Locks limits of storage by
-- level, each once, as everybody does.
CREATE FUNCTION "limits_store"("of_tenant" uuid, "stored" jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l limits;
BEGIN
  FOR l IN
    SELECT * FROM limits s
    WHERE s.kind = 'STORAGE_BYTES' AND (
      (s.tenant_id = '00000000-0000-0000-0000-000000000000' AND s.level = 'PLATFORM' AND s.subject_id = '00000000-0000-0000-0000-000000000000')
      OR (s.tenant_id = of_tenant AND s.level = 'TENANT' AND s.subject_id = of_tenant)
      OR (s.tenant_id = of_tenant AND s.level = 'MEMBER' AND s.subject_id IN (SELECT (f->>'user_id')::uuid FROM jsonb_array_elements(stored) AS f))
      OR (s.tenant_id = of_tenant AND s.level = 'API_KEY' AND s.subject_id IN (SELECT (f->>'api_key_id')::uuid FROM jsonb_array_elements(stored) AS f))
    )
    ORDER BY s.kind, s.level, s."window", s.subject_id FOR UPDATE
  LOOP
    PERFORM limit_count(l, (
      SELECT sum((f->>'bytes')::bigint) FROM jsonb_array_elements(stored) AS f
      WHERE l.level IN ('PLATFORM', 'TENANT') OR (l.level = 'MEMBER' AND (f->>'user_id')::uuid = l.subject_id)
        OR (l.level = 'API_KEY' AND (f->>'api_key_id')::uuid = l.subject_id)
    )::bigint, 0);
  END LOOP;
END
$$;
