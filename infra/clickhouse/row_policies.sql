-- Accounts of tenants with a ClickHouse client of their own: each is named as its tenant and sees that tenant's rows.
-- Needs ClickHouse 26.9: before it, row policies could be passed by (loop, mergeTreeIndex, mergeTreeTextIndex, …).
-- A new tenant: CREATE USER `acme` IDENTIFIED BY '…' DEFAULT ROLE llmtrail_tenant SETTINGS PROFILE 'llmtrail_people';
--               GRANT llmtrail_tenant TO `acme`; ALTER QUOTA … TO `acme`; SHOW ACCESS shows what came of it.
-- No right to create temporary tables: without it no table function reaches for a file, a server or a temporary table.
-- Those over tables of its own (merge, view) still run, and keep to the policies.

CREATE ROLE IF NOT EXISTS llmtrail_tenant;

GRANT SELECT ON llmtrail.calls TO llmtrail_tenant;
GRANT SELECT ON llmtrail.calls_data TO llmtrail_tenant;
GRANT SELECT ON llmtrail.attempts TO llmtrail_tenant;
GRANT SELECT ON llmtrail.bodies TO llmtrail_tenant;
GRANT SELECT ON llmtrail.bodies_data TO llmtrail_tenant;
GRANT SELECT ON llmtrail.ids TO llmtrail_tenant;
GRANT SELECT ON llmtrail.ids_data TO llmtrail_tenant;
GRANT SELECT ON llmtrail.price_corrections TO llmtrail_tenant;
GRANT SELECT ON llmtrail.stats_minute TO llmtrail_tenant;
GRANT SELECT ON llmtrail.stats_minute_data TO llmtrail_tenant;
GRANT SELECT ON llmtrail.alerts TO llmtrail_tenant;
GRANT SELECT ON llmtrail.budget_events TO llmtrail_tenant;
GRANT SELECT ON llmtrail.alerts_data TO llmtrail_tenant;
GRANT SELECT ON llmtrail.dead_letters TO llmtrail_tenant;
GRANT SELECT ON llmtrail.dead_letters_data TO llmtrail_tenant;

-- Everybody may see every row, as before; what is restrictive holds besides, for tenants.
CREATE ROW POLICY IF NOT EXISTS llmtrail_all
ON llmtrail.calls_data, llmtrail.bodies_data, llmtrail.ids_data, llmtrail.stats_minute_data, llmtrail.alerts_data,
  llmtrail.dead_letters_data, llmtrail.price_corrections
FOR SELECT USING 1 AS PERMISSIVE TO ALL;

CREATE ROW POLICY IF NOT EXISTS llmtrail_own
ON llmtrail.calls_data, llmtrail.bodies_data, llmtrail.ids_data, llmtrail.stats_minute_data, llmtrail.alerts_data,
  llmtrail.dead_letters_data, llmtrail.price_corrections
FOR SELECT USING tenant = currentUser() AS RESTRICTIVE TO llmtrail_tenant;
