-- Tenants, members, keys and people: what their administration needs.

-- CreateEnum
CREATE TYPE "scope" AS ENUM ('GENERATION_READ', 'GENERATION_WRITE', 'KEY_ADMIN', 'MEMBER_ADMIN', 'QUOTA_READ', 'QUOTA_ADMIN', 'TENANT_ADMIN', 'AUDIT_READ', 'PLATFORM_ADMIN');

-- DropForeignKey
ALTER TABLE "api_key" DROP CONSTRAINT "api_key_tenant_id_user_id_fkey";

-- AlterTable
ALTER TABLE "api_key" ADD COLUMN     "allowed_presets" TEXT[] DEFAULT ARRAY[]::TEXT[],
ADD COLUMN     "expires_at" TIMESTAMPTZ(3),
ADD COLUMN     "last_used_at" TIMESTAMPTZ(3),
ADD COLUMN     "replaced_by" UUID,
ADD COLUMN     "scopes" "scope"[] DEFAULT ARRAY[]::"scope"[],
ADD COLUMN     "version" INTEGER NOT NULL DEFAULT 1;

-- AlterTable
ALTER TABLE "batch" ALTER COLUMN "api_key_id" DROP NOT NULL;

-- AlterTable
ALTER TABLE "generation" ADD COLUMN     "parked" BOOLEAN NOT NULL DEFAULT false,
ALTER COLUMN "api_key_id" DROP NOT NULL;

-- AlterTable
ALTER TABLE "membership" ADD COLUMN     "version" INTEGER NOT NULL DEFAULT 1;

-- AlterTable
ALTER TABLE "tenant" ADD COLUMN     "suspended_at" TIMESTAMPTZ(3),
ADD COLUMN     "version" INTEGER NOT NULL DEFAULT 1;

-- AlterTable
ALTER TABLE "user_account" ADD COLUMN     "email" TEXT;

-- CreateTable
CREATE TABLE "identity" (
    "issuer" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "user_id" UUID NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "identity_pkey" PRIMARY KEY ("issuer","subject")
);

-- CreateIndex
CREATE UNIQUE INDEX "identity_issuer_user_id_key" ON "identity"("issuer", "user_id");

-- CreateIndex
CREATE INDEX "api_key_tenant_id_user_id_idx" ON "api_key"("tenant_id", "user_id");

-- CreateIndex
CREATE INDEX "membership_user_id_idx" ON "membership"("user_id");

-- CreateIndex
CREATE UNIQUE INDEX "user_account_email_key" ON "user_account"("email");

-- AddForeignKey
ALTER TABLE "identity" ADD CONSTRAINT "identity_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user_account"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user_account"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- What a claim looks for: queued generations of a suspended tenant are out of its way, however many there are.
DROP INDEX "generation_queued_idx";
CREATE INDEX "generation_queued_idx" ON "generation" ("pool", "priority", "created_at", "id") WHERE "state" = 'QUEUED' AND NOT "parked";
CREATE INDEX "generation_queued_of_tenant_idx" ON "generation" ("tenant_id") WHERE "state" = 'QUEUED';
GRANT SELECT ("id", "suspended_at") ON "tenant" TO atelier_dispatcher;

-- Administrators of a tenant manage its keys and members.
GRANT INSERT, UPDATE ON "api_key" TO atelier_api;
GRANT INSERT, UPDATE, DELETE ON "membership" TO atelier_api;

-- Identities belong to no tenant: only signing in reads and writes them.
ALTER TABLE "identity" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "identity" FORCE ROW LEVEL SECURITY;
CREATE POLICY "all_tenants" ON "identity" TO atelier_platform USING (true);
CREATE POLICY "sign_in" ON "identity" TO atelier_auth USING (true);
CREATE POLICY "lookup" ON "tenant" FOR SELECT TO atelier_auth USING (true);
CREATE POLICY "note_use" ON "api_key" FOR UPDATE TO atelier_auth USING (true);
CREATE POLICY "add" ON "user_account" FOR INSERT TO atelier_auth WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON "identity" TO atelier_platform;
GRANT SELECT, INSERT ON "identity" TO atelier_auth;
GRANT SELECT ON "tenant" TO atelier_auth;
GRANT UPDATE ("last_used_at") ON "api_key" TO atelier_auth;
GRANT INSERT ON "user_account" TO atelier_auth;

-- The doors to what is not of the transaction's tenant. Each answers one question.

-- Who calls with a key, by the hash of its secret; notes once a minute that it is in use.
DROP FUNCTION "auth_lookup"(text);
CREATE FUNCTION "auth_lookup"("secret_hash" text)
  RETURNS TABLE ("tenantId" uuid, "tenantName" text, "userId" uuid, "apiKeyId" uuid, "role" "role", "isPlatformAdmin" boolean,
    "isSuspended" boolean, "scopes" text[], "allowedPresets" text[], "expiresAt" timestamptz, "refusal" text)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE api_key SET last_used_at = now()
    WHERE hash = secret_hash AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute')
      AND (revoked_at IS NULL OR revoked_at > now()) AND (expires_at IS NULL OR expires_at > now());
    SELECT k.tenant_id, t.name, k.user_id, k.id, m.role, u.is_platform_admin,
      t.suspended_at IS NOT NULL, k.scopes::text[], k.allowed_presets, least(k.expires_at, k.revoked_at),
      CASE WHEN m.user_id IS NULL OR k.revoked_at <= now() THEN 'REVOKED' WHEN k.expires_at <= now() THEN 'EXPIRED' END
    FROM api_key k
    JOIN tenant t ON t.id = k.tenant_id
    JOIN user_account u ON u.id = k.user_id
    LEFT JOIN membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id
    WHERE k.hash = secret_hash
  $$;

-- Who signed in, with every tenant they are a member of. At the first time, a verified e-mail address tells who it is.
CREATE FUNCTION "auth_sign_in"("of_issuer" text, "of_subject" text, "verified_email" text)
  RETURNS TABLE ("userId" uuid, "isPlatformAdmin" boolean, "tenantId" uuid, "tenantName" text, "role" "role", "isSuspended" boolean)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO identity (issuer, subject, user_id)
    SELECT of_issuer, of_subject, u.id FROM user_account u WHERE u.email = lower(verified_email)
      AND NOT EXISTS (SELECT 1 FROM identity i WHERE i.issuer = of_issuer AND i.subject = of_subject)
    ON CONFLICT DO NOTHING;
    SELECT u.id, u.is_platform_admin, m.tenant_id, t.name, m.role, t.suspended_at IS NOT NULL
    FROM identity i
    JOIN user_account u ON u.id = i.user_id
    LEFT JOIN membership m ON m.user_id = u.id
    LEFT JOIN tenant t ON t.id = m.tenant_id
    WHERE i.issuer = of_issuer AND i.subject = of_subject
    ORDER BY m.tenant_id
  $$;

-- What became of callers that are still connected: [{keyId, userId, tenantId}], answered in the same order.
CREATE FUNCTION "auth_recheck"("callers" jsonb)
  RETURNS TABLE ("role" "role", "isPlatformAdmin" boolean, "isSuspended" boolean, "scopes" text[], "allowedPresets" text[], "expiresAt" timestamptz, "refusal" text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.role, coalesce(u.is_platform_admin, false), coalesce(t.suspended_at IS NOT NULL, false), k.scopes::text[], k.allowed_presets,
      least(k.expires_at, k.revoked_at),
      CASE WHEN m.user_id IS NULL THEN 'REMOVED'
        WHEN c."keyId" IS NOT NULL AND (k.id IS NULL OR k.revoked_at <= now()) THEN 'REVOKED'
        WHEN k.expires_at <= now() THEN 'EXPIRED' END
    FROM ROWS FROM (jsonb_to_recordset(callers) AS ("keyId" uuid, "userId" uuid, "tenantId" uuid)) WITH ORDINALITY AS c("keyId", "userId", "tenantId", place)
    LEFT JOIN membership m ON m.tenant_id = c."tenantId" AND m.user_id = c."userId"
    LEFT JOIN user_account u ON u.id = c."userId"
    LEFT JOIN tenant t ON t.id = c."tenantId"
    LEFT JOIN api_key k ON k.id = c."keyId"
    ORDER BY c.place
  $$;

-- The person with an e-mail address, who may be a member of other tenants already; a new one without.
CREATE FUNCTION "auth_person"("new_id" uuid, "called" text, "address" text) RETURNS uuid
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO user_account (id, name, email) VALUES (new_id, called, lower(address)) ON CONFLICT (email) DO NOTHING;
    SELECT id FROM user_account WHERE id = new_id OR email = lower(address)
  $$;

GRANT CREATE ON SCHEMA public TO atelier_auth;
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['auth_lookup(text)', 'auth_sign_in(text, text, text)', 'auth_recheck(jsonb)', 'auth_person(uuid, text, text)'] LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO atelier_auth', name);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO atelier_api, atelier_platform', name);
  END LOOP;
END
$$;
REVOKE CREATE ON SCHEMA public FROM atelier_auth;
