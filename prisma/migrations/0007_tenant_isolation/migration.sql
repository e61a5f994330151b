-- Row-level security: a transaction says at its beginning as which role it acts and for which tenants (src/platform/access.ts),
-- and sees and writes no other rows, whatever a query asks for.

-- Every row of a tenant says whose it is.
ALTER TABLE "attempt" ADD COLUMN "tenant_id" UUID;
ALTER TABLE "milestone" ADD COLUMN "tenant_id" UUID;
ALTER TABLE "batch_item" ADD COLUMN "tenant_id" UUID;
UPDATE "attempt" a SET "tenant_id" = g."tenant_id" FROM "generation" g WHERE g."id" = a."generation_id";
UPDATE "milestone" m SET "tenant_id" = g."tenant_id" FROM "generation" g WHERE g."id" = m."generation_id";
UPDATE "batch_item" i SET "tenant_id" = b."tenant_id" FROM "batch" b WHERE b."id" = i."batch_id";
ALTER TABLE "attempt" ALTER COLUMN "tenant_id" SET NOT NULL;
ALTER TABLE "milestone" ALTER COLUMN "tenant_id" SET NOT NULL;
ALTER TABLE "batch_item" ALTER COLUMN "tenant_id" SET NOT NULL;

-- Roles that transactions act as. None of them can log in. They belong to the server, so another installation may have made them.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['atelier_api', 'atelier_poll', 'atelier_dispatcher', 'atelier_platform', 'atelier_auth'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', name);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    EXECUTE format('GRANT %I TO CURRENT_USER', name);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
  END LOOP;
END
$$;

-- The tenants of the transaction; empty when it named none.
CREATE FUNCTION "current_tenants"() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE
  RETURN string_to_array(coalesce(current_setting('app.tenant_ids', true), ''), ',')::uuid[];

-- A tenant sees its own rows; dispatchers and administrators of the platform see all rows of the tables they are let into.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tenant', 'user_account', 'membership', 'api_key', 'limits', 'reservation', 'ledger_entry', 'generation', 'batch',
    'batch_item', 'attempt', 'milestone', 'image', 'idempotency_record', 'upload'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY "all_tenants" ON %I TO atelier_dispatcher, atelier_platform USING (true)', name);
    IF name NOT IN ('tenant', 'user_account') THEN
      EXECUTE format('CREATE POLICY "own_tenant" ON %I TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()))', name);
    END IF;
  END LOOP;
END
$$;
CREATE POLICY "own_tenant" ON "tenant" TO atelier_api USING ("id" = ANY ("current_tenants"()));
CREATE POLICY "members_of_own_tenant" ON "user_account" TO atelier_api
  USING (EXISTS (SELECT 1 FROM "membership" m WHERE m."user_id" = "user_account"."id"));
CREATE POLICY "watched_tenants" ON "generation" FOR SELECT TO atelier_poll USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "lookup" ON "api_key" FOR SELECT TO atelier_auth USING (true);
CREATE POLICY "lookup" ON "membership" FOR SELECT TO atelier_auth USING (true);
CREATE POLICY "lookup" ON "user_account" FOR SELECT TO atelier_auth USING (true);

-- What each role may do at all. Nobody changes or deletes what is append-only.
GRANT SELECT ON "tenant", "user_account", "membership", "api_key", "attempt", "image", "pool" TO atelier_api;
GRANT SELECT, INSERT ON "ledger_entry", "milestone", "idempotency_record" TO atelier_api;
GRANT SELECT, INSERT, UPDATE ON "generation", "reservation", "upload" TO atelier_api;
GRANT SELECT, UPDATE ON "limits" TO atelier_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON "batch", "batch_item" TO atelier_api;

GRANT SELECT ("id", "tenant_id", "milestone_seq") ON "generation" TO atelier_poll;

GRANT SELECT, INSERT ON "ledger_entry", "milestone", "image" TO atelier_dispatcher;
GRANT SELECT, UPDATE ON "generation", "limits", "reservation" TO atelier_dispatcher;
GRANT SELECT, UPDATE, DELETE ON "batch", "batch_item", "upload" TO atelier_dispatcher;
GRANT SELECT, DELETE ON "idempotency_record" TO atelier_dispatcher;
GRANT SELECT, INSERT, UPDATE ON "attempt" TO atelier_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON "pool", "pool_lease" TO atelier_dispatcher;

GRANT SELECT, INSERT, UPDATE, DELETE ON "tenant", "user_account", "membership", "api_key", "limits", "reservation", "generation", "batch",
  "batch_item", "attempt", "milestone", "image", "idempotency_record", "upload", "pool", "pool_lease" TO atelier_platform;
GRANT SELECT, INSERT ON "ledger_entry" TO atelier_platform;

-- The only way to a key without knowing its tenant: by the hash of its secret.
GRANT SELECT ON "api_key", "membership", "user_account" TO atelier_auth;
CREATE FUNCTION "auth_lookup"("secret_hash" text)
  RETURNS TABLE ("tenantId" uuid, "userId" uuid, "apiKeyId" uuid, "role" "role", "isPlatformAdmin" boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.tenant_id, k.user_id, k.id, m.role, u.is_platform_admin
    FROM api_key k
    JOIN membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id
    JOIN user_account u ON u.id = k.user_id
    WHERE k.hash = secret_hash AND k.revoked_at IS NULL
  $$;
GRANT CREATE ON SCHEMA public TO atelier_auth;
ALTER FUNCTION "auth_lookup" OWNER TO atelier_auth;
REVOKE CREATE ON SCHEMA public FROM atelier_auth;
REVOKE ALL ON FUNCTION "auth_lookup" FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "auth_lookup" TO atelier_api, atelier_platform;
