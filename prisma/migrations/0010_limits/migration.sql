-- Limits of several kinds on several levels, use by day, and reservations that know whose they are and until when.

-- Types anew, because a new value of an old one cannot be used in the transaction that adds it. The order of kinds, then of
-- levels, is the order in which limits are locked everywhere.
ALTER TYPE "limit_level" RENAME TO "limit_level_old";
ALTER TYPE "limit_kind" RENAME TO "limit_kind_old";
CREATE TYPE "limit_level" AS ENUM ('PLATFORM', 'TENANT', 'MEMBER', 'API_KEY');
CREATE TYPE "limit_kind" AS ENUM ('RUNNING', 'QUEUED', 'REQUESTS_PER_MINUTE', 'PIXELS_PER_MINUTE', 'STORAGE_BYTES', 'CREDITS');
CREATE TYPE "limit_window" AS ENUM ('MINUTE', 'HOUR', 'DAY', 'MONTH', 'TOTAL');
ALTER TABLE "limits"
    DROP CONSTRAINT "limits_pkey",
    DROP CONSTRAINT "limits_tenant_id_fkey",
    DROP CONSTRAINT "limits_within_max",
    ALTER COLUMN "level" TYPE "limit_level" USING "level"::text::"limit_level",
    ALTER COLUMN "kind" TYPE "limit_kind" USING "kind"::text::"limit_kind",
    ADD COLUMN "subject_id" UUID,
    ADD COLUMN "window" "limit_window" NOT NULL DEFAULT 'TOTAL',
    ADD COLUMN "is_rolling" BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN "window_start" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ADD COLUMN "buckets" BIGINT[],
    ADD COLUMN "version" INTEGER NOT NULL DEFAULT 1;
DROP TYPE "limit_level_old";
DROP TYPE "limit_kind_old";
UPDATE "limits" SET "subject_id" = "tenant_id";
ALTER TABLE "limits"
    ALTER COLUMN "subject_id" SET NOT NULL,
    ADD CONSTRAINT "limits_pkey" PRIMARY KEY ("tenant_id", "level", "subject_id", "kind", "window"),
    -- Nobody has less than nothing, whatever a query does. Other limits may be set below what is gone: they refuse until there is room.
    ADD CONSTRAINT "limits_within_max" CHECK ("used" >= 0 AND "held" >= 0 AND "max" >= 0
      AND ("level" <> 'TENANT' OR "kind" <> 'CREDITS' OR "window" <> 'TOTAL' OR "used" + "held" <= "max"));

ALTER TYPE "ledger_kind" ADD VALUE 'ADJUST';

-- Rows that are rewritten all the time stay on their pages.
ALTER TABLE "limits" SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

-- A reservation is held against limits of a member and a key, too; and it is looked at again when it stays open for too long.
ALTER TABLE "reservation" ADD COLUMN "user_id" UUID, ADD COLUMN "api_key_id" UUID, ADD COLUMN "expires_at" TIMESTAMPTZ(3);
UPDATE "reservation" r SET "user_id" = g."user_id", "api_key_id" = g."api_key_id" FROM "generation" g WHERE g."id" = r."generation_id";
UPDATE "reservation" r SET "user_id" = b."user_id", "api_key_id" = b."api_key_id" FROM "batch" b WHERE b."id" = r."batch_id" AND r."generation_id" IS NULL;
UPDATE "reservation" SET "expires_at" = "created_at" + interval '8 days';
ALTER TABLE "reservation" ALTER COLUMN "user_id" SET NOT NULL, ALTER COLUMN "expires_at" SET NOT NULL;
CREATE INDEX "reservation_expiry_idx" ON "reservation" ("expires_at") WHERE "ended_at" IS NULL;

-- What was used, added up by day: a plot reads as many rows as it shows, however long the history.
CREATE TABLE "usage_day" (
    "tenant_id" UUID NOT NULL,
    "day" DATE NOT NULL,
    "user_id" UUID NOT NULL,
    "api_key_id" UUID NOT NULL,
    "task" "task_kind" NOT NULL,
    "ended" INTEGER NOT NULL,
    "succeeded" INTEGER NOT NULL,
    "credits" BIGINT NOT NULL,
    "pixels" BIGINT NOT NULL,

    CONSTRAINT "usage_day_pkey" PRIMARY KEY ("tenant_id","day","user_id","api_key_id","task")
);
ALTER TABLE "usage_day" SET (fillfactor = 80);
ALTER TABLE "usage_day" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "usage_day" FORCE ROW LEVEL SECURITY;
CREATE POLICY "own_tenant" ON "usage_day" TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "all_tenants" ON "usage_day" TO atelier_dispatcher, atelier_platform USING (true);
GRANT SELECT, INSERT, UPDATE ON "usage_day" TO atelier_api, atelier_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON "usage_day" TO atelier_platform;

-- Pages of a ledger, whatever kinds they show; and what became of one generation.
DROP INDEX "ledger_entry_tenant_id_id_idx";
CREATE INDEX "ledger_entry_tenant_id_kind_id_idx" ON "ledger_entry"("tenant_id", "kind", "id");
CREATE INDEX "ledger_entry_generation_idx" ON "ledger_entry" ("generation_id") WHERE "generation_id" IS NOT NULL;

-- The queue by whose it is: how a claim passes over those who may run no more, however much they have queued.
CREATE INDEX "generation_queued_by_subject_idx" ON "generation" ("pool", "tenant_id", "user_id", coalesce("api_key_id", '00000000-0000-0000-0000-000000000000'), "priority", "created_at", "id")
  WHERE "state" = 'QUEUED' AND NOT "parked";

-- Limits of the platform are counted by every tenant's transactions. Those of members and keys their administrators set; a
-- tenant's own, and the platform's, nobody sets who acts for a tenant.
CREATE POLICY "platform_limits" ON "limits" FOR SELECT TO atelier_api USING ("level" = 'PLATFORM');
CREATE POLICY "platform_counters" ON "limits" FOR UPDATE TO atelier_api USING ("level" = 'PLATFORM');
CREATE POLICY "set_by_tenants" ON "limits" AS RESTRICTIVE FOR INSERT TO atelier_api WITH CHECK ("level" IN ('MEMBER', 'API_KEY'));
CREATE POLICY "removed_by_tenants" ON "limits" AS RESTRICTIVE FOR DELETE TO atelier_api USING ("level" IN ('MEMBER', 'API_KEY'));
GRANT INSERT, DELETE ON "limits" TO atelier_api;
-- The nightly check of the counters counts rows of everybody.
GRANT SELECT ON "upload" TO atelier_dispatcher;

-- A limit as it stands at a time. Calendar windows (UTC) begin anew. A rolling window is 13 buckets of a twelfth of its length,
-- the newest last: it never lets more through in any window than its maximum, and gives back at most a twelfth late.
CREATE FUNCTION "limit_at"("l" "limits", "at" timestamptz) RETURNS "limits" LANGUAGE plpgsql STABLE AS $$
DECLARE
  start timestamptz;
  width double precision;
  passed integer;
BEGIN
  IF l."window" = 'TOTAL' THEN RETURN l; END IF;
  IF NOT l.is_rolling THEN
    start := date_trunc(lower(l."window"::text), at, 'UTC');
    IF start > l.window_start THEN
      l.used := 0;
      l.window_start := start;
    END IF;
    RETURN l;
  END IF;
  width := CASE l."window" WHEN 'MINUTE' THEN 60 WHEN 'HOUR' THEN 3600 WHEN 'DAY' THEN 86400 ELSE 2592000 END / 12.0;
  passed := least(floor(extract(epoch FROM at - l.window_start) / width), 1000000000);
  IF passed > 0 THEN
    l.buckets := l.buckets[least(passed, 13) + 1 : 13] || array_fill(0::bigint, ARRAY[least(passed, 13)]);
    l.window_start := l.window_start + make_interval(secs => passed * width);
    l.used := (SELECT sum(bucket) FROM unnest(l.buckets) AS bucket);
  END IF;
  RETURN l;
END
$$;

-- Writes the counters of a limit.
CREATE FUNCTION "limit_count"("l" "limits", "more_used" bigint, "more_held" bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF l.is_rolling THEN l.buckets[13] := l.buckets[13] + more_used; END IF;
  UPDATE limits SET used = greatest(l.used + more_used, 0), held = greatest(l.held + more_held, 0), window_start = l.window_start, buckets = l.buckets
  WHERE tenant_id = l.tenant_id AND level = l.level AND subject_id = l.subject_id AND kind = l.kind AND "window" = l."window";
END
$$;

-- The limits that something of a tenant's member and key counts against. Locked in one order everywhere: by kind, then by level.
CREATE FUNCTION "lock_limits"("of_tenant" uuid, "of_user" uuid, "of_key" uuid, "kinds" "limit_kind"[]) RETURNS SETOF "limits" LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
    SELECT * FROM limits l
    WHERE l.kind = ANY (kinds) AND (l.tenant_id, l.level, l.subject_id) IN (
      ('00000000-0000-0000-0000-000000000000', 'PLATFORM', '00000000-0000-0000-0000-000000000000'),
      (of_tenant, 'TENANT', of_tenant), (of_tenant, 'MEMBER', of_user), (of_tenant, 'API_KEY', of_key)
    )
    ORDER BY l.kind, l.level, l."window" FOR UPDATE;
END
$$;

-- Admits work, counting it against every limit, or returns those that refuse: then the transaction must be undone. Amounts by kind,
-- as {"CREDITS": "1000000"}. Storage needs room, and is counted when something is stored. Without a balance nothing is paid.
CREATE FUNCTION "limits_admit"("of_tenant" uuid, "of_user" uuid, "of_key" uuid, "amounts" jsonb) RETURNS SETOF "limits" LANGUAGE plpgsql AS $$
DECLARE
  l limits;
  needed bigint;
  has_balance boolean := NOT amounts ? 'CREDITS';
BEGIN
  FOR l IN SELECT * FROM lock_limits(of_tenant, of_user, of_key, (SELECT array_agg(name::limit_kind) FROM jsonb_object_keys(amounts) AS name)) LOOP
    l := limit_at(l, clock_timestamp());
    needed := (amounts->>l.kind::text)::bigint;
    has_balance := has_balance OR (l.kind = 'CREDITS' AND l.level = 'TENANT' AND l."window" = 'TOTAL');
    IF l.used + l.held + needed > l.max THEN
      RETURN NEXT l;
    ELSIF l.kind IN ('CREDITS', 'QUEUED') THEN
      PERFORM limit_count(l, 0, needed);
    ELSIF l.kind <> 'STORAGE_BYTES' THEN
      PERFORM limit_count(l, needed, 0);
    END IF;
  END LOOP;
  IF NOT has_balance THEN
    l := NULL;
    l.tenant_id := of_tenant; l.subject_id := of_tenant; l.level := 'TENANT'; l.kind := 'CREDITS'; l."window" := 'TOTAL';
    l.is_rolling := false; l.max := 0; l.used := 0; l.held := 0; l.window_start := clock_timestamp(); l.version := 0;
    RETURN NEXT l;
  END IF;
END
$$;

-- How many items of a batch, of these sizes and in this order, may be queued now; counts them. An item larger than a whole rate
-- passes when nothing else did.
CREATE FUNCTION "limits_feed"("of_tenant" uuid, "of_user" uuid, "of_key" uuid, "pixels" bigint[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  found limits[];
  l limits;
  fits integer := cardinality(pixels);
  room bigint;
BEGIN
  FOR l IN SELECT * FROM lock_limits(of_tenant, of_user, of_key, ARRAY['QUEUED', 'PIXELS_PER_MINUTE']::limit_kind[]) LOOP
    l := limit_at(l, clock_timestamp());
    found := found || l;
    room := greatest(l.max - l.used - l.held, 0);
    IF l.kind = 'QUEUED' THEN
      fits := least(fits, room);
    ELSE
      fits := least(fits, greatest((
        SELECT count(*) FROM (SELECT sum(p) OVER (ORDER BY place) AS total FROM unnest(pixels) WITH ORDINALITY AS u(p, place)) AS sums WHERE total <= room
      ), CASE WHEN l.used = 0 AND l.max > 0 THEN 1 ELSE 0 END));
    END IF;
  END LOOP;
  IF fits > 0 AND found IS NOT NULL THEN
    FOREACH l IN ARRAY found LOOP
      IF l.kind = 'QUEUED' THEN PERFORM limit_count(l, 0, fits);
      ELSE PERFORM limit_count(l, (SELECT sum(p) FROM unnest(pixels[1:fits]) AS p)::bigint, 0);
      END IF;
    END LOOP;
  END IF;
  RETURN fits;
END
$$;

-- A generation stops waiting and runs, if all its limits let one more run.
CREATE FUNCTION "limits_start"("of_tenant" uuid, "of_user" uuid, "of_key" uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  found limits[];
  l limits;
BEGIN
  FOR l IN SELECT * FROM lock_limits(of_tenant, of_user, of_key, ARRAY['RUNNING', 'QUEUED']::limit_kind[]) LOOP
    IF l.kind = 'RUNNING' AND l.held >= l.max THEN RETURN false; END IF;
    found := found || l;
  END LOOP;
  IF found IS NOT NULL THEN
    FOREACH l IN ARRAY found LOOP
      PERFORM limit_count(l, 0, CASE l.kind WHEN 'RUNNING' THEN 1 ELSE -1 END);
    END LOOP;
  END IF;
  RETURN true;
END
$$;

-- What runs, waits or is stored became more or less, whatever the limits say.
CREATE FUNCTION "limits_move"("of_tenant" uuid, "of_user" uuid, "of_key" uuid, "running" integer, "queued" integer, "stored" bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l limits;
BEGIN
  FOR l IN SELECT * FROM lock_limits(of_tenant, of_user, of_key, ARRAY['RUNNING', 'QUEUED', 'STORAGE_BYTES']::limit_kind[]) LOOP
    PERFORM limit_count(l, CASE l.kind WHEN 'STORAGE_BYTES' THEN stored ELSE 0 END, CASE l.kind WHEN 'RUNNING' THEN running WHEN 'QUEUED' THEN queued ELSE 0 END);
  END LOOP;
END
$$;

-- Held credits become free or charged ones.
CREATE FUNCTION "limits_settle"("of_tenant" uuid, "of_user" uuid, "of_key" uuid, "freed" bigint, "charged" bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l limits;
BEGIN
  FOR l IN SELECT * FROM lock_limits(of_tenant, of_user, of_key, ARRAY['CREDITS']::limit_kind[]) LOOP
    PERFORM limit_count(limit_at(l, clock_timestamp()), charged, -freed);
  END LOOP;
END
$$;
