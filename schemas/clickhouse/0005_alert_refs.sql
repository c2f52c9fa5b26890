-- Where the decisions are that concern a request: by the scopes that it was counted under, and by its own id.

CREATE TABLE IF NOT EXISTS llmtrail.alert_refs_data
(
  ref_hash UInt64 DEFAULT cityHash64(ref) COMMENT 'cityHash64 of the scope (tenant, kind and names as a JSON array), or of a request''s id.' CODEC(ZSTD(1)),
  named Bool COMMENT 'Whether it is a request''s id, which the decision names as a proof.' CODEC(ZSTD(1)),
  decided_at DateTime64(9, 'UTC') COMMENT 'When it was decided.' CODEC(Delta(8), ZSTD(1)),
  decided_day Date COMMENT 'Day (UTC) of the decision: its partition in `alerts`.' CODEC(ZSTD(1)),
  rule LowCardinality(String) COMMENT 'Name of the budget or alarm.' CODEC(ZSTD(1)),
  alert_id String COMMENT 'The decision.' CODEC(ZSTD(1)),
  crossing UInt32 COMMENT 'Number of the firing.' CODEC(T64, ZSTD(1)),
  held Bool COMMENT 'Whether a level holds after it.' CODEC(ZSTD(1)),
  period_end Nullable(DateTime64(9, 'UTC')) COMMENT 'When the budget''s period ends, and with it the level.' CODEC(ZSTD(1)),
  ref String EPHEMERAL COMMENT 'The scope or the id: hashed at insert, not kept here.'
)
ENGINE = ReplacingMergeTree
ORDER BY (ref_hash, decided_at, alert_id)
TTL decided_day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 0,
  index_granularity = 256,
  merge_with_ttl_timeout = 604800
COMMENT 'Finds the decisions on a scope, or that name a request; made for look-ups.';
