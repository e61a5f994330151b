-- AlterTable
ALTER TABLE "fair_share_tag" ADD COLUMN     "floors" DOUBLE PRECISION[] DEFAULT ARRAY[]::DOUBLE PRECISION[];

-- AlterTable
ALTER TABLE "pool" ADD COLUMN     "floors" DOUBLE PRECISION[] DEFAULT ARRAY[]::DOUBLE PRECISION[];

-- Turns that were stored without floors: everybody goes on from the highest tag, so that nobody has a past to live on.
UPDATE "fair_share_tag" t SET "floors" = array[m.tag, m.tag, m.tag]
FROM (SELECT pool, tenant_id, max(tag) AS tag FROM "fair_share_tag" WHERE user_id <> '00000000-0000-0000-0000-000000000000' GROUP BY pool, tenant_id) m
WHERE t.user_id = '00000000-0000-0000-0000-000000000000' AND t.pool = m.pool AND t.tenant_id = m.tenant_id;
UPDATE "pool" p SET "floors" = array[m.tag, m.tag]
FROM (SELECT pool, max(tag) AS tag FROM "fair_share_tag" WHERE user_id = '00000000-0000-0000-0000-000000000000' GROUP BY pool) m
WHERE p.name = m.pool;
