-- Rows of these tables are replaced all the time. With the defaults of a server, a fifth of a table would be dead before it is
-- swept, and claims would read past that; and room on the pages lets counters be replaced where they are.
ALTER TABLE "generation" SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
ALTER TABLE "attempt" SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 1, fillfactor = 90);
ALTER TABLE "reservation" SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 1, fillfactor = 90);
ALTER TABLE "limits" SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 1, fillfactor = 70);
ALTER TABLE "fair_share_tag" SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 1, fillfactor = 70);
ALTER TABLE "pool_lease" SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_cost_delay = 1, fillfactor = 50);
