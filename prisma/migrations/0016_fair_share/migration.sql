-- CreateTable
CREATE TABLE "fair_share_tag" (
    "pool" TEXT NOT NULL,
    "tenant_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "tag" DOUBLE PRECISION NOT NULL,

    CONSTRAINT "fair_share_tag_pkey" PRIMARY KEY ("pool","tenant_id","user_id")
);

-- AddForeignKey
ALTER TABLE "fair_share_tag" ADD CONSTRAINT "fair_share_tag_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- The pool's leader writes them, and everybody may know their own.
ALTER TABLE "fair_share_tag" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "fair_share_tag" FORCE ROW LEVEL SECURITY;
CREATE POLICY "own_tenant" ON "fair_share_tag" TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "all_tenants" ON "fair_share_tag" TO atelier_dispatcher, atelier_platform USING (true);
GRANT SELECT ON "fair_share_tag" TO atelier_api;
-- Of an erased tenant no tag is stored any more.
GRANT SELECT ("erased_at") ON "tenant" TO atelier_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON "fair_share_tag" TO atelier_dispatcher, atelier_platform;
