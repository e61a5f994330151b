-- What tenants were entitled to of the service and what they got, minute by minute.

-- AlterTable
ALTER TABLE "pool" ADD COLUMN     "accounted_until" TIMESTAMPTZ(3);

-- CreateTable
CREATE TABLE "fair_share_minute" (
    "pool" TEXT NOT NULL,
    "tenant_id" UUID NOT NULL,
    "minute" TIMESTAMPTZ(3) NOT NULL,
    "pool_ms" DOUBLE PRECISION NOT NULL,
    "entitled_ms" DOUBLE PRECISION NOT NULL,
    "received_ms" DOUBLE PRECISION NOT NULL,
    "lent_ms" DOUBLE PRECISION NOT NULL,
    "borrowed_ms" DOUBLE PRECISION NOT NULL,
    "waits" INTEGER[],

    CONSTRAINT "fair_share_minute_pkey" PRIMARY KEY ("tenant_id","minute","pool")
);

-- CreateIndex
CREATE INDEX "fair_share_minute_minute_idx" ON "fair_share_minute"("minute");

-- CreateIndex
CREATE INDEX "attempt_ended_at_idx" ON "attempt"("ended_at");

-- AddForeignKey
ALTER TABLE "fair_share_minute" ADD CONSTRAINT "fair_share_minute_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- A duty writes it, and everybody may know their own.
ALTER TABLE "fair_share_minute" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "fair_share_minute" FORCE ROW LEVEL SECURITY;
CREATE POLICY "own_tenant" ON "fair_share_minute" TO atelier_api USING ("tenant_id" = ANY ("current_tenants"()));
CREATE POLICY "all_tenants" ON "fair_share_minute" TO atelier_dispatcher, atelier_platform USING (true);
GRANT SELECT ON "fair_share_minute" TO atelier_api;
GRANT SELECT, INSERT, DELETE ON "fair_share_minute" TO atelier_dispatcher, atelier_platform;
