-- A claim, and each extension of a lease, replaces rows of generations. No index names what they change, and pages have room for
-- the new row, so that no index is touched: open generations stay in the indexes of the queues until they end. What runs is
-- found by its open attempt.

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "is_dead_letter" BOOLEAN NOT NULL GENERATED ALWAYS AS ("state" = 'DEAD_LETTERED') STORED;
ALTER TABLE "generation" ADD CONSTRAINT "generation_finished_check" CHECK (("finished_at" IS NULL) = ("state" IN ('QUEUED', 'RUNNING')));
ALTER TABLE "generation" SET (fillfactor = 85);

DROP INDEX "generation_running_idx";
DROP INDEX "generation_arrivals_idx";
CREATE INDEX "generation_arrivals_idx" ON "generation" ("pool", "queued_xid") WHERE "finished_at" IS NULL AND NOT "parked";
DROP INDEX "generation_queued_by_subject_idx";
CREATE INDEX "generation_open_by_subject_idx" ON "generation" ("pool", "tenant_id", "user_id", coalesce("api_key_id", '00000000-0000-0000-0000-000000000000'), "priority", "preset", "created_at", "id")
  WHERE "finished_at" IS NULL AND NOT "parked";
DROP INDEX "generation_queued_of_tenant_idx";
CREATE INDEX "generation_open_of_tenant_idx" ON "generation" ("tenant_id") WHERE "finished_at" IS NULL;
DROP INDEX "generation_deadline_idx";
CREATE INDEX "generation_deadline_idx" ON "generation" ("deadline_at") WHERE "finished_at" IS NULL AND "deadline_at" IS NOT NULL;
DROP INDEX "generation_batch_open_idx";
CREATE INDEX "generation_batch_open_idx" ON "generation" ("batch_id") WHERE "batch_id" IS NOT NULL AND "finished_at" IS NULL;
DROP INDEX "generation_dead_letters_of_tenant_idx";
CREATE INDEX "generation_dead_letters_of_tenant_idx" ON "generation" ("tenant_id", "id" DESC) WHERE "is_dead_letter" AND "deleted_at" IS NULL;
DROP INDEX "generation_dead_letters_idx";
CREATE INDEX "generation_dead_letters_idx" ON "generation" ("id" DESC) WHERE "is_dead_letter" AND "deleted_at" IS NULL;

-- Limits of what waits count what is open from now on: a claim changes none of them. What waits is that less what runs, which
-- is counted where it matters: few run.
CREATE FUNCTION "platform_running"() RETURNS bigint
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*) FROM attempt a JOIN generation g ON g.id = a.generation_id WHERE a.ended_at IS NULL AND g.state = 'RUNNING'
  $$;
GRANT CREATE ON SCHEMA public TO atelier_dispatcher;
ALTER FUNCTION "platform_running"() OWNER TO atelier_dispatcher;
REVOKE CREATE ON SCHEMA public FROM atelier_dispatcher;
REVOKE ALL ON FUNCTION "platform_running"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "platform_running"() TO atelier_api, atelier_platform;

-- How many of the generations that a limit of what waits counts do not wait, but run.
CREATE FUNCTION "limit_running"("l" "limits") RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN l.level = 'PLATFORM' THEN platform_running() ELSE (
    SELECT count(*) FROM attempt a JOIN generation g ON g.id = a.generation_id
    WHERE a.ended_at IS NULL AND g.state = 'RUNNING' AND g.tenant_id = l.tenant_id AND CASE l.level
      WHEN 'MEMBER' THEN g.user_id = l.subject_id WHEN 'API_KEY' THEN g.api_key_id = l.subject_id ELSE true END
  ) END
$$;

UPDATE "limits" l SET "held" = l."held" + limit_running(l) WHERE l."kind" = 'QUEUED';

-- A limit as it stands for whoever reads it.
CREATE FUNCTION "limit_standing"("l" "limits", "at" timestamptz) RETURNS "limits" LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  l := limit_at(l, at);
  IF l.kind = 'QUEUED' THEN l.held := greatest(l.held - limit_running(l), 0); END IF;
  RETURN l;
END
$$;

DROP FUNCTION "limits_start"(uuid, uuid, uuid);

-- As before, but for what waits: only where what is open leaves no room, it is counted how much of that runs.
CREATE OR REPLACE FUNCTION "limits_admit"("of_tenant" uuid, "asked" jsonb) RETURNS TABLE ("place" integer, "refusing" "limits") LANGUAGE plpgsql
  SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
  kinds limit_kind[] := ARRAY(SELECT DISTINCT jsonb_object_keys(a->'amounts')::limit_kind FROM jsonb_array_elements(asked) AS a);
  users uuid[] := ARRAY(SELECT DISTINCT (a->>'user_id')::uuid FROM jsonb_array_elements(asked) AS a);
  keys uuid[] := ARRAY(SELECT DISTINCT (a->>'api_key_id')::uuid FROM jsonb_array_elements(asked) AS a WHERE a->>'api_key_id' IS NOT NULL);
  found limits[] := '{}';
  needs bigint[];
  more_used bigint[] := '{}';
  more_held bigint[] := '{}';
  ask jsonb;
  l limits;
  needed bigint;
  has_balance boolean;
  is_refused boolean;
  running bigint[] := '{}';
BEGIN
  FOR l IN
    SELECT * FROM limits s
    WHERE s.kind = ANY (kinds) AND (
      (s.tenant_id = '00000000-0000-0000-0000-000000000000' AND s.level = 'PLATFORM' AND s.subject_id = '00000000-0000-0000-0000-000000000000')
      OR (s.tenant_id = of_tenant AND s.level = 'TENANT' AND s.subject_id = of_tenant)
      OR (s.tenant_id = of_tenant AND s.level = 'MEMBER' AND s.subject_id = ANY (users))
      OR (s.tenant_id = of_tenant AND s.level = 'API_KEY' AND s.subject_id = ANY (keys))
    )
    ORDER BY s.kind, s.level, s."window", s.subject_id FOR UPDATE
  LOOP
    found := found || limit_at(l, clock_timestamp());
    more_used := more_used || 0::bigint;
    more_held := more_held || 0::bigint;
    running := running || NULL::bigint;
  END LOOP;

  FOR ask IN SELECT a FROM jsonb_array_elements(asked) WITH ORDINALITY AS given(a, nth) ORDER BY nth LOOP
    place := (ask->>'place')::integer;
    needs := '{}';
    has_balance := NOT ask->'amounts' ? 'CREDITS';
    is_refused := false;
    FOR i IN 1 .. cardinality(found) LOOP
      l := found[i];
      needed := CASE
        WHEN l.level = 'MEMBER' AND l.subject_id <> (ask->>'user_id')::uuid THEN NULL
        WHEN l.level = 'API_KEY' AND l.subject_id IS DISTINCT FROM (ask->>'api_key_id')::uuid THEN NULL
        ELSE (ask->'amounts'->>l.kind::text)::bigint
      END;
      needs := needs || coalesce(needed, 0);
      has_balance := has_balance OR (l.kind = 'CREDITS' AND l.level = 'TENANT' AND l."window" = 'TOTAL');
      l.used := l.used + more_used[i];
      IF l.used + l.held + more_held[i] + needed > l.max AND l.kind = 'QUEUED' AND running[i] IS NULL THEN
        running[i] := limit_running(l);
      END IF;
      l.held := l.held + more_held[i] - coalesce(running[i], 0);
      IF l.used + l.held + needed > l.max THEN
        is_refused := true;
        refusing := l;
        RETURN NEXT;
      END IF;
    END LOOP;
    IF NOT has_balance THEN
      is_refused := true;
      l := NULL;
      l.tenant_id := of_tenant; l.subject_id := of_tenant; l.level := 'TENANT'; l.kind := 'CREDITS'; l."window" := 'TOTAL';
      l.is_rolling := false; l.max := 0; l.used := 0; l.held := 0; l.window_start := clock_timestamp(); l.version := 0;
      refusing := l;
      RETURN NEXT;
    END IF;
    CONTINUE WHEN is_refused;
    FOR i IN 1 .. cardinality(found) LOOP
      IF found[i].kind IN ('CREDITS', 'QUEUED') THEN
        more_held[i] := more_held[i] + needs[i];
      ELSIF found[i].kind <> 'STORAGE_BYTES' THEN
        more_used[i] := more_used[i] + needs[i];
      END IF;
    END LOOP;
  END LOOP;

  FOR i IN 1 .. cardinality(found) LOOP
    IF more_used[i] <> 0 OR more_held[i] <> 0 THEN
      PERFORM limit_count(found[i], more_used[i], more_held[i]);
    END IF;
  END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION "limits_feed"("of_tenant" uuid, "of_user" uuid, "of_key" uuid, "pixels" bigint[]) RETURNS integer LANGUAGE plpgsql AS $$
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
      IF room < fits THEN room := greatest(l.max - l.held + limit_running(l), 0); END IF;
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
