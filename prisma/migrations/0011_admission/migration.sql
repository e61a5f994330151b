-- Several generations of a tenant are admitted by one statement, and one that is refused leaves the others alone.

-- Of what was refused beside others that were not: its key can be used again.
GRANT DELETE ON "idempotency_record" TO atelier_api;

-- Admits work of a tenant in the order given, counting each against every limit of its member and key that some amount is of, or
-- returns the limits that refuse it: that work is counted nowhere. Asked is [{"place": 0, "user_id", "api_key_id", "amounts"}], with
-- amounts by kind, as {"CREDITS": "1000000"}. Storage needs room, and is counted when something is stored. Without a balance nothing
-- is paid. Locks limits by kind, then by level, as everybody does; each is written once, however many are admitted.
DROP FUNCTION "limits_admit"(uuid, uuid, uuid, jsonb);
CREATE FUNCTION "limits_admit"("of_tenant" uuid, "asked" jsonb) RETURNS TABLE ("place" integer, "refusing" "limits") LANGUAGE plpgsql
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
      l.held := l.held + more_held[i];
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
