-- What is deleted: the row is marked first, so that it is gone for everybody, and its bytes follow.

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "deleted_at" TIMESTAMPTZ(3),
ADD COLUMN     "texts_deleted_at" TIMESTAMPTZ(3);

-- AlterTable
ALTER TABLE "image" ADD COLUMN     "deleted_at" TIMESTAMPTZ(3),
ADD COLUMN     "purged_at" TIMESTAMPTZ(3);

-- What the purge looks for.
CREATE INDEX "image_purge_idx" ON "image" ("id") WHERE "deleted_at" IS NOT NULL AND "purged_at" IS NULL;

-- Settings, or a part of them, whose texts are empty.
CREATE FUNCTION "without_texts"("settings" jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT settings || coalesce(jsonb_object_agg(name, ''), '{}') FROM jsonb_object_keys(settings) AS name
  WHERE name IN ('prompt', 'unconditionalPrompt', 'instruction', 'question')
$$;

-- Texts go, rows stay. Images are marked by whoever deletes them, and by whoever deletes their bytes.
GRANT UPDATE ("deleted_at", "purged_at") ON "image" TO atelier_api, atelier_dispatcher;
GRANT UPDATE ("message", "checkpoint") ON "attempt" TO atelier_api;
GRANT UPDATE ("message") ON "milestone" TO atelier_api, atelier_dispatcher;
GRANT UPDATE ("body_hash") ON "idempotency_record" TO atelier_api, atelier_dispatcher;
