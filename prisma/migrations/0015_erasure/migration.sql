-- Tenants that are erased: what stays is the row itself, without its name, and the head of its audit log.

-- AlterTable
ALTER TABLE "tenant" ADD COLUMN     "emptied_at" TIMESTAMPTZ(3),
ADD COLUMN     "erased_at" TIMESTAMPTZ(3);

-- What the duty looks for.
CREATE INDEX "tenant_erasure_idx" ON "tenant" ("id") WHERE "erased_at" IS NOT NULL AND "emptied_at" IS NULL;

-- What nobody else may delete: the ledger and the audit log, once their tenant is erased, some rows at a time.
GRANT SELECT ON "tenant" TO atelier_audit;
GRANT SELECT, DELETE ON "ledger_entry" TO atelier_audit;
GRANT DELETE ON "audit_entry" TO atelier_audit;
CREATE POLICY "erased" ON "tenant" FOR SELECT TO atelier_audit USING ("erased_at" IS NOT NULL);
CREATE POLICY "erase" ON "ledger_entry" TO atelier_audit USING (true);
CREATE FUNCTION "erase_records"("of_tenant" uuid, "at_most" integer) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  entries integer;
  logged integer;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM tenant WHERE id = of_tenant AND erased_at IS NOT NULL) THEN
    RAISE EXCEPTION 'the records of a tenant that is not erased' USING ERRCODE = 'insufficient_privilege';
  END IF;
  DELETE FROM ledger_entry WHERE id IN (SELECT id FROM ledger_entry WHERE tenant_id = of_tenant LIMIT at_most);
  GET DIAGNOSTICS entries = ROW_COUNT;
  DELETE FROM audit_entry WHERE tenant_id = of_tenant AND seq IN (SELECT seq FROM audit_entry WHERE tenant_id = of_tenant ORDER BY seq LIMIT at_most);
  GET DIAGNOSTICS logged = ROW_COUNT;
  RETURN entries + logged;
END
$$;
GRANT CREATE ON SCHEMA public TO atelier_audit;
ALTER FUNCTION "erase_records" OWNER TO atelier_audit;
REVOKE CREATE ON SCHEMA public FROM atelier_audit;
REVOKE ALL ON FUNCTION "erase_records" FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "erase_records" TO atelier_platform;

DROP TRIGGER "ledger_entry_append_only" ON "ledger_entry";
CREATE TRIGGER "ledger_entry_append_only" BEFORE UPDATE OR DELETE ON "ledger_entry"
  FOR EACH ROW WHEN (current_user <> 'atelier_audit') EXECUTE FUNCTION "refuse_change"();
