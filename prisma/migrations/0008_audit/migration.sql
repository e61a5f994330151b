-- One chain of entries for each tenant, and one for the platform under the nil id.
CREATE TABLE "audit_entry" (
    "tenant_id" UUID NOT NULL,
    "seq" INTEGER NOT NULL,
    "entry" JSONB NOT NULL,
    "hash" TEXT NOT NULL,

    CONSTRAINT "audit_entry_pkey" PRIMARY KEY ("tenant_id","seq")
);

CREATE TABLE "audit_head" (
    "tenant_id" UUID NOT NULL,
    "seq" INTEGER NOT NULL,
    "hash" TEXT NOT NULL,

    CONSTRAINT "audit_head_pkey" PRIMARY KEY ("tenant_id")
);

ALTER TABLE "audit_entry" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "audit_entry" FORCE ROW LEVEL SECURITY;
ALTER TABLE "audit_head" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "audit_head" FORCE ROW LEVEL SECURITY;
CREATE POLICY "own_tenant" ON "audit_entry" FOR SELECT TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "own_tenant" ON "audit_head" FOR SELECT TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "all_tenants" ON "audit_entry" FOR SELECT TO atelier_platform USING (true);
CREATE POLICY "all_tenants" ON "audit_head" FOR SELECT TO atelier_platform USING (true);
GRANT SELECT ON "audit_entry", "audit_head" TO atelier_api, atelier_platform;

-- Nobody writes the tables themselves: the function below does, as a role of its own that nobody acts as.
DO $$
BEGIN
  CREATE ROLE atelier_audit NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
GRANT atelier_audit TO CURRENT_USER;
GRANT USAGE ON SCHEMA public TO atelier_audit;
GRANT SELECT, INSERT ON "audit_entry" TO atelier_audit;
GRANT SELECT, INSERT, UPDATE ON "audit_head" TO atelier_audit;
CREATE POLICY "append" ON "audit_entry" TO atelier_audit USING (true);
CREATE POLICY "append" ON "audit_head" TO atelier_audit USING (true);

-- Adds an entry to the chain of a tenant. The head stays locked until the transaction ends, so the order of the chain is that of commits.
CREATE FUNCTION "audit_append"("chain" uuid, "content" jsonb) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  head audit_head%ROWTYPE;
  full_entry jsonb;
  next_hash text;
BEGIN
  IF current_setting('role') <> 'atelier_platform' AND NOT chain = ANY (current_tenants()) THEN
    RAISE EXCEPTION 'an entry for the audit log of another tenant' USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO audit_head (tenant_id, seq, hash) VALUES (chain, 0, '') ON CONFLICT DO NOTHING;
  SELECT * INTO STRICT head FROM audit_head WHERE tenant_id = chain FOR UPDATE;
  full_entry := content || jsonb_build_object(
    'seq', head.seq + 1,
    'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
  );
  next_hash := encode(sha256(convert_to(head.hash || full_entry::text, 'UTF8')), 'hex');
  INSERT INTO audit_entry (tenant_id, seq, entry, hash) VALUES (chain, head.seq + 1, full_entry, next_hash);
  UPDATE audit_head SET seq = head.seq + 1, hash = next_hash WHERE tenant_id = chain;
  RETURN head.seq + 1;
END
$$;
GRANT CREATE ON SCHEMA public TO atelier_audit;
ALTER FUNCTION "audit_append" OWNER TO atelier_audit;
REVOKE CREATE ON SCHEMA public FROM atelier_audit;
GRANT EXECUTE ON FUNCTION "current_tenants" TO atelier_audit;
REVOKE ALL ON FUNCTION "audit_append" FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "audit_append" TO atelier_api, atelier_platform;
