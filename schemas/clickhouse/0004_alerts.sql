-- What was decided of budgets and alarms, also where nobody was told, and who changed which rule when.

CREATE TABLE IF NOT EXISTS llmtrail.alerts_data
(
  decided_day Date COMMENT 'Day (UTC) of the decision; the partition.' CODEC(ZSTD(1)),
  decided_at DateTime64(9, 'UTC') COMMENT 'When it was decided.' CODEC(Delta(8), ZSTD(1)),
  alert_id String COMMENT 'Id of the decision: the same decision made again, after a crash, has the same id.' CODEC(ZSTD(1)),
  incident String COMMENT 'One for all decisions of a firing; PagerDuty''s dedup_key.' CODEC(ZSTD(1)),
  rule LowCardinality(String) COMMENT 'Name of the budget or alarm.' CODEC(ZSTD(1)),
  rule_kind LowCardinality(String) COMMENT 'budget or alarm.' CODEC(ZSTD(1)),
  tenant LowCardinality(String) COMMENT 'Tenant of the scope; empty where there is none.' CODEC(ZSTD(1)),
  scope_kind LowCardinality(String) COMMENT 'What the scope is: tenant, feature, user, model, version, feature_model, feature_user, request, session or prompt.' CODEC(ZSTD(1)),
  scope Array(String) COMMENT 'The scope''s names, in the order of its kind: (feature, user) of a feature_user.' CODEC(ZSTD(1)),
  reason LowCardinality(String) COMMENT 'Why it was decided: first, level_changed, repeated, resolved, or suppressed_by_silence, _maintenance or _inhibition.' CODEC(ZSTD(1)),
  told Bool COMMENT 'Whether somebody was to hear of it.' CODEC(ZSTD(1)),
  suppressed_by String COMMENT 'The silence, maintenance window or rule that kept it quiet; empty where none did.' CODEC(ZSTD(1)),
  channels Array(String) COMMENT 'The channels that it went to.' CODEC(ZSTD(1)),
  owner LowCardinality(String) COMMENT 'Owner of the feature or rule.' CODEC(ZSTD(1)),
  level LowCardinality(String) COMMENT 'The level that holds after it; empty when none does.' CODEC(ZSTD(1)),
  severity LowCardinality(String) COMMENT 'Severity of that level: info, warning, error or critical.' CODEC(ZSTD(1)),
  hard Bool COMMENT 'Whether calls of the scope are refused from here on.' CODEC(ZSTD(1)),
  crossing UInt32 COMMENT 'Number of the firing, of this scope under this rule in this period.' CODEC(T64, ZSTD(1)),
  unit LowCardinality(String) COMMENT 'What value and threshold are told in: nanousd, tokens, calls, share, ms, s, times or count.' CODEC(ZSTD(1)),
  value Nullable(Float64) COMMENT 'What was seen.' CODEC(ZSTD(1)),
  threshold Nullable(Float64) COMMENT 'Where the level begins.' CODEC(ZSTD(1)),
  amount Nullable(Int64) COMMENT 'What was seen, exactly, of a budget: nano-dollars, tokens or calls. NULL for alarms.' CODEC(T64, ZSTD(1)),
  amount_limit Nullable(Int64) COMMENT 'The budget''s whole limit, in the same unit. NULL for alarms.' CODEC(T64, ZSTD(1)),
  period LowCardinality(String) COMMENT 'Period of the budget, such as 2026-11 or 2026-11-21T14:00Z; empty for alarms.' CODEC(ZSTD(1)),
  period_start Nullable(DateTime64(9, 'UTC')) COMMENT 'When the period began.' CODEC(ZSTD(1)),
  period_end Nullable(DateTime64(9, 'UTC')) COMMENT 'When it ends and the budget begins anew.' CODEC(ZSTD(1)),
  calls UInt64 COMMENT 'Calls that the value was made from.' CODEC(T64, ZSTD(1)),
  unpriced UInt64 COMMENT 'Those of them without a price.' CODEC(T64, ZSTD(1)),
  forecast_at Nullable(DateTime64(9, 'UTC')) COMMENT 'When the limit will be reached at the pace of late. NULL: not in this period.' CODEC(ZSTD(1)),
  baseline Nullable(Float64) COMMENT 'The scope''s own usual value, for alarms that compare with it.' CODEC(ZSTD(1)),
  request_ids Array(String) COMMENT 'Up to five requests that prove it.' CODEC(ZSTD(1)),
  detail Map(LowCardinality(String), String) COMMENT 'What else was known.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY decided_day
ORDER BY (decided_day, rule, decided_at, alert_id)
TTL decided_day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Decisions as written; read `alerts`.';

CREATE TABLE IF NOT EXISTS llmtrail.audit_data
(
  changed_day Date COMMENT 'Day (UTC) of the change; the partition.' CODEC(ZSTD(1)),
  changed_at DateTime64(9, 'UTC') COMMENT 'When the change was taken up.' CODEC(Delta(8), ZSTD(1)),
  audit_id String COMMENT 'Id of the entry: the same change told twice is one entry.' CODEC(ZSTD(1)),
  actor LowCardinality(String) COMMENT 'Who made it, as far as is known: the author told with the files, else the file''s owner.' CODEC(ZSTD(1)),
  action LowCardinality(String) COMMENT 'added, changed, removed or refused.' CODEC(ZSTD(1)),
  kind LowCardinality(String) COMMENT 'What was changed: budget, alarm, owner, channel, silence, maintenance, policy, ...' CODEC(ZSTD(1)),
  name String COMMENT 'Its name.' CODEC(ZSTD(1)),
  before String COMMENT 'What it was, as JSON; empty when it was added.' CODEC(ZSTD(1)),
  after String COMMENT 'What it is, as JSON; empty when it was removed.' CODEC(ZSTD(1)),
  detail String COMMENT 'What else is known, such as why a change was refused.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY changed_day
ORDER BY (changed_day, changed_at, audit_id)
TTL changed_day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Changes as written; read `audit`.';

CREATE OR REPLACE VIEW llmtrail.alerts
(
  decided_day Date COMMENT 'Day (UTC) of the decision; the partition.',
  decided_at DateTime64(9, 'UTC') COMMENT 'When it was decided.',
  alert_id String COMMENT 'Id of the decision: the same decision made again, after a crash, has the same id.',
  incident String COMMENT 'One for all decisions of a firing; PagerDuty''s dedup_key.',
  rule LowCardinality(String) COMMENT 'Name of the budget or alarm.',
  rule_kind LowCardinality(String) COMMENT 'budget or alarm.',
  tenant LowCardinality(String) COMMENT 'Tenant of the scope; empty where there is none.',
  scope_kind LowCardinality(String) COMMENT 'What the scope is: tenant, feature, user, model, version, feature_model, feature_user, request, session or prompt.',
  scope Array(String) COMMENT 'The scope''s names, in the order of its kind: (feature, user) of a feature_user.',
  reason LowCardinality(String) COMMENT 'Why it was decided: first, level_changed, repeated, resolved, or suppressed_by_silence, _maintenance or _inhibition.',
  told Bool COMMENT 'Whether somebody was to hear of it.',
  suppressed_by String COMMENT 'The silence, maintenance window or rule that kept it quiet; empty where none did.',
  channels Array(String) COMMENT 'The channels that it went to.',
  owner LowCardinality(String) COMMENT 'Owner of the feature or rule.',
  level LowCardinality(String) COMMENT 'The level that holds after it; empty when none does.',
  severity LowCardinality(String) COMMENT 'Severity of that level: info, warning, error or critical.',
  hard Bool COMMENT 'Whether calls of the scope are refused from here on.',
  crossing UInt32 COMMENT 'Number of the firing, of this scope under this rule in this period.',
  unit LowCardinality(String) COMMENT 'What value and threshold are told in: nanousd, tokens, calls, share, ms, s, times or count.',
  value Nullable(Float64) COMMENT 'What was seen.',
  threshold Nullable(Float64) COMMENT 'Where the level begins.',
  amount Nullable(Int64) COMMENT 'What was seen, exactly, of a budget: nano-dollars, tokens or calls. NULL for alarms.',
  amount_limit Nullable(Int64) COMMENT 'The budget''s whole limit, in the same unit. NULL for alarms.',
  period LowCardinality(String) COMMENT 'Period of the budget, such as 2026-11 or 2026-11-21T14:00Z; empty for alarms.',
  period_start Nullable(DateTime64(9, 'UTC')) COMMENT 'When the period began.',
  period_end Nullable(DateTime64(9, 'UTC')) COMMENT 'When it ends and the budget begins anew.',
  calls UInt64 COMMENT 'Calls that the value was made from.',
  unpriced UInt64 COMMENT 'Those of them without a price.',
  forecast_at Nullable(DateTime64(9, 'UTC')) COMMENT 'When the limit will be reached at the pace of late. NULL: not in this period.',
  baseline Nullable(Float64) COMMENT 'The scope''s own usual value, for alarms that compare with it.',
  request_ids Array(String) COMMENT 'Up to five requests that prove it.',
  detail Map(LowCardinality(String), String) COMMENT 'What else was known.'
)
AS SELECT
  decided_day,
  decided_at,
  alert_id,
  incident,
  rule,
  rule_kind,
  tenant,
  scope_kind,
  scope,
  reason,
  told,
  suppressed_by,
  channels,
  owner,
  level,
  severity,
  hard,
  crossing,
  unit,
  value,
  threshold,
  amount,
  amount_limit,
  period,
  period_start,
  period_end,
  calls,
  unpriced,
  forecast_at,
  baseline,
  request_ids,
  detail
FROM llmtrail.alerts_data FINAL
COMMENT 'Decisions on budgets and alarms, told or not.';

CREATE OR REPLACE VIEW llmtrail.budget_events
(
  decided_day Date COMMENT 'Day (UTC) of the decision; the partition.',
  decided_at DateTime64(9, 'UTC') COMMENT 'When it was decided.',
  alert_id String COMMENT 'Id of the decision: the same decision made again, after a crash, has the same id.',
  incident String COMMENT 'One for all decisions of a firing; PagerDuty''s dedup_key.',
  budget LowCardinality(String) COMMENT 'Name of the budget.',
  tenant LowCardinality(String) COMMENT 'Tenant of the scope; empty where there is none.',
  scope_kind LowCardinality(String) COMMENT 'What the scope is: tenant, feature, user, model, version, feature_model, feature_user, request, session or prompt.',
  scope Array(String) COMMENT 'The scope''s names, in the order of its kind: (feature, user) of a feature_user.',
  reason LowCardinality(String) COMMENT 'Why it was decided: first, level_changed, repeated, resolved, or suppressed_by_silence, _maintenance or _inhibition.',
  told Bool COMMENT 'Whether somebody was to hear of it.',
  suppressed_by String COMMENT 'The silence, maintenance window or rule that kept it quiet; empty where none did.',
  channels Array(String) COMMENT 'The channels that it went to.',
  owner LowCardinality(String) COMMENT 'Owner of the feature or rule.',
  level LowCardinality(String) COMMENT 'The level that holds after it; empty when none does.',
  severity LowCardinality(String) COMMENT 'Severity of that level: info, warning, error or critical.',
  hard Bool COMMENT 'Whether calls of the scope are refused from here on.',
  crossing UInt32 COMMENT 'Number of the firing, of this scope under this rule in this period.',
  unit LowCardinality(String) COMMENT 'What value and threshold are told in: nanousd, tokens, calls, share, ms, s, times or count.',
  amount Nullable(Int64) COMMENT 'What was seen, exactly, of a budget: nano-dollars, tokens or calls. NULL for alarms.',
  amount_limit Nullable(Int64) COMMENT 'The budget''s whole limit, in the same unit. NULL for alarms.',
  period LowCardinality(String) COMMENT 'Period of the budget, such as 2026-11 or 2026-11-21T14:00Z; empty for alarms.',
  period_start Nullable(DateTime64(9, 'UTC')) COMMENT 'When the period began.',
  period_end Nullable(DateTime64(9, 'UTC')) COMMENT 'When it ends and the budget begins anew.',
  calls UInt64 COMMENT 'Calls that the value was made from.',
  unpriced UInt64 COMMENT 'Those of them without a price.',
  forecast_at Nullable(DateTime64(9, 'UTC')) COMMENT 'When the limit will be reached at the pace of late. NULL: not in this period.',
  request_ids Array(String) COMMENT 'Up to five requests that prove it.',
  detail Map(LowCardinality(String), String) COMMENT 'What else was known.'
)
AS SELECT
  decided_day,
  decided_at,
  alert_id,
  incident,
  rule AS budget,
  tenant,
  scope_kind,
  scope,
  reason,
  told,
  suppressed_by,
  channels,
  owner,
  level,
  severity,
  hard,
  crossing,
  unit,
  amount,
  amount_limit,
  period,
  period_start,
  period_end,
  calls,
  unpriced,
  forecast_at,
  request_ids,
  detail
FROM llmtrail.alerts_data FINAL
WHERE rule_kind = 'budget'
COMMENT 'Levels of budgets that were reached or left.';

CREATE OR REPLACE VIEW llmtrail.audit
(
  changed_day Date COMMENT 'Day (UTC) of the change; the partition.',
  changed_at DateTime64(9, 'UTC') COMMENT 'When the change was taken up.',
  audit_id String COMMENT 'Id of the entry: the same change told twice is one entry.',
  actor LowCardinality(String) COMMENT 'Who made it, as far as is known: the author told with the files, else the file''s owner.',
  action LowCardinality(String) COMMENT 'added, changed, removed or refused.',
  kind LowCardinality(String) COMMENT 'What was changed: budget, alarm, owner, channel, silence, maintenance, policy, ...',
  name String COMMENT 'Its name.',
  before String COMMENT 'What it was, as JSON; empty when it was added.',
  after String COMMENT 'What it is, as JSON; empty when it was removed.',
  detail String COMMENT 'What else is known, such as why a change was refused.'
)
AS SELECT
  changed_day,
  changed_at,
  audit_id,
  actor,
  action,
  kind,
  name,
  before,
  after,
  detail
FROM llmtrail.audit_data FINAL
COMMENT 'Every change of rules, budgets, owners and channels.';
