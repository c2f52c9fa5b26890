-- What collectors told of each reading beside its samples: whether the target could be read, and which lines of its
-- page gave no sample and why. A row for each record of `llm.gpu`, so that SQL can tell that none is missing. And the
-- last error of the driver, which samples carried and no column held.

ALTER TABLE llmtrail.gpu_samples_data
  ADD COLUMN IF NOT EXISTS last_xid Nullable(UInt32) COMMENT 'Code of the last error that the driver tells, however old; 0: there was none. Never a sum.' CODEC(ZSTD(1)) AFTER xid;

CREATE TABLE IF NOT EXISTS llmtrail.gpu_scrapes_data
(
  sampled_day Date COMMENT 'Day (UTC) of the reading; the partition.' CODEC(ZSTD(1)),
  sampled_at DateTime64(3, 'UTC') COMMENT 'When the target was read, by the node''s clock: the time of its samples.' CODEC(DoubleDelta, ZSTD(1)),
  received_at DateTime64(3, 'UTC') COMMENT 'When the log took it, by the log''s clock.' CODEC(Delta(8), ZSTD(1)),
  host LowCardinality(String) COMMENT 'Node, as its samples name it.' CODEC(ZSTD(1)),
  target LowCardinality(String) COMMENT 'What was read: the page''s address, or nvml.' CODEC(ZSTD(1)),
  error String COMMENT 'Why the target could not be read, or only in part; empty: it was.' CODEC(ZSTD(1)),
  gpus UInt32 COMMENT 'Samples in it of GPUs and MIG instances: rows of `gpu_samples`.' CODEC(T64, ZSTD(1)),
  engines UInt32 COMMENT 'Samples in it of model servers: rows of `engine_samples`.' CODEC(T64, ZSTD(1)),
  used_lines Nullable(UInt32) COMMENT 'Lines of the page that the samples were made of. NULL: no page was read.' CODEC(T64, ZSTD(1)),
  rejected Map(LowCardinality(String), UInt64) COMMENT 'Lines that gave no sample, counted by reason.' CODEC(ZSTD(1)),
  rejected_lines Array(String) COMMENT 'The first of them that somebody should see, as they stood on the page.' CODEC(ZSTD(1)),
  rejected_reasons Array(LowCardinality(String)) COMMENT 'Why each of these was rejected.' CODEC(ZSTD(1)),
  topic_id LowCardinality(String) COMMENT 'Id of the topic `llm.gpu` on its log.' CODEC(ZSTD(1)),
  `partition` UInt32 COMMENT 'Partition of the log.' CODEC(T64, ZSTD(1)),
  `offset` UInt64 COMMENT 'Offset in that partition: with it, a row for each record, though a scrape was sent twice.' CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY sampled_day
ORDER BY (host, sampled_at, target, topic_id, `partition`, `offset`)
TTL sampled_day + INTERVAL 90 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Readings of targets as written; read `gpu_scrapes`.';

CREATE OR REPLACE VIEW llmtrail.gpu_samples
(
  sampled_day Date COMMENT 'Day (UTC) of the sample; the partition.',
  sampled_at DateTime64(3, 'UTC') COMMENT 'When it was read, by the node''s clock.',
  received_at DateTime64(3, 'UTC') COMMENT 'When the log took it, by the log''s clock: the difference tells how far the node''s clock is off.',
  host LowCardinality(String) COMMENT 'Node, as its samples name it.',
  gpu_uuid LowCardinality(String) COMMENT 'The GPU''s own id, GPU-….',
  mig_instance LowCardinality(String) COMMENT 'Number of the MIG instance on its GPU; empty for a whole GPU.',
  gpu_index Nullable(UInt16) COMMENT 'Number of the GPU on its node.',
  gpu_name LowCardinality(String) COMMENT 'Model, such as NVIDIA H200.',
  mig_profile LowCardinality(String) COMMENT 'Profile of the MIG instance, such as 1g.18gb; empty for a whole GPU.',
  namespace LowCardinality(String) COMMENT 'Kubernetes namespace of the pod; empty where none is known.',
  pod LowCardinality(String) COMMENT 'Pod that has the GPU; empty where none has, or none is known.',
  container LowCardinality(String) COMMENT 'Its container.',
  source LowCardinality(String) COMMENT 'Who told it: dcgm or nvml.',
  utilization Nullable(Float32) COMMENT 'Share of time in which a kernel ran, 0 to 1; without meaning on MIG instances.',
  engine_active Nullable(Float32) COMMENT 'Share of time in which the graphics or compute engine was active, 0 to 1; true on MIG instances too.',
  tensor_active Nullable(Float32) COMMENT 'Share of cycles in which the tensor cores were active, 0 to 1.',
  dram_active Nullable(Float32) COMMENT 'Share of cycles in which memory was read or written, 0 to 1.',
  memory_used_bytes Nullable(UInt64) COMMENT 'Memory in use.',
  memory_total_bytes Nullable(UInt64) COMMENT 'Memory that the GPU or MIG instance has for use: used and free.',
  temperature_c Nullable(Float32) COMMENT 'Temperature of the GPU in degrees Celsius.',
  memory_temperature_c Nullable(Float32) COMMENT 'Temperature of its memory in degrees Celsius.',
  power_w Nullable(Float32) COMMENT 'Power drawn in watts.',
  power_limit_w Nullable(Float32) COMMENT 'Power that it may draw, in watts.',
  energy_j Nullable(Float64) COMMENT 'Energy used since the driver was loaded, in joules: a counter.',
  sm_clock_mhz Nullable(Float32) COMMENT 'Clock of the multiprocessors in MHz.',
  memory_clock_mhz Nullable(Float32) COMMENT 'Clock of the memory in MHz.',
  throttle_reasons Array(LowCardinality(String)) COMMENT 'Why the clocks are held down: sw_power_cap, hw_slowdown, sw_thermal, hw_thermal, hw_power_brake, …; empty: they are not, or nobody told.',
  xid Nullable(UInt32) COMMENT 'Code of a driver error that was new in this sample: an event, never a sum. NULL: none.',
  last_xid Nullable(UInt32) COMMENT 'Code of the last error that the driver tells, however old; 0: there was none. Never a sum.',
  ecc_corrected Nullable(UInt64) COMMENT 'Memory errors that were corrected, a counter.',
  ecc_uncorrected Nullable(UInt64) COMMENT 'Memory errors that were not, a counter.',
  remapped_rows_corrected Nullable(UInt64) COMMENT 'Memory rows remapped for corrected errors, a counter.',
  remapped_rows_uncorrected Nullable(UInt64) COMMENT 'Memory rows remapped for uncorrected errors, a counter.',
  row_remap_failed Nullable(Bool) COMMENT 'Whether remapping a row has failed: the GPU is to be replaced.',
  pcie_replays Nullable(UInt64) COMMENT 'PCIe packets that were sent again, a counter.',
  nvlink_bytes_s Nullable(Float32) COMMENT 'Bytes a second over NVLink, both ways.',
  pcie_sent_bytes_s Nullable(Float32) COMMENT 'Bytes a second sent over PCIe.',
  pcie_received_bytes_s Nullable(Float32) COMMENT 'Bytes a second received over PCIe.'
)
AS SELECT
  sampled_day,
  sampled_at,
  received_at,
  host,
  gpu_uuid,
  mig_instance,
  gpu_index,
  gpu_name,
  mig_profile,
  namespace,
  pod,
  container,
  source,
  utilization,
  engine_active,
  tensor_active,
  dram_active,
  memory_used_bytes,
  memory_total_bytes,
  temperature_c,
  memory_temperature_c,
  power_w,
  power_limit_w,
  energy_j,
  sm_clock_mhz,
  memory_clock_mhz,
  throttle_reasons,
  xid,
  last_xid,
  ecc_corrected,
  ecc_uncorrected,
  remapped_rows_corrected,
  remapped_rows_uncorrected,
  row_remap_failed,
  pcie_replays,
  nvlink_bytes_s,
  pcie_sent_bytes_s,
  pcie_received_bytes_s
FROM llmtrail.gpu_samples_data FINAL
COMMENT 'What each GPU did, one row a sample.';

CREATE OR REPLACE VIEW llmtrail.gpu_scrapes
(
  sampled_day Date COMMENT 'Day (UTC) of the reading; the partition.',
  sampled_at DateTime64(3, 'UTC') COMMENT 'When the target was read, by the node''s clock: the time of its samples.',
  received_at DateTime64(3, 'UTC') COMMENT 'When the log took it, by the log''s clock.',
  host LowCardinality(String) COMMENT 'Node, as its samples name it.',
  target LowCardinality(String) COMMENT 'What was read: the page''s address, or nvml.',
  error String COMMENT 'Why the target could not be read, or only in part; empty: it was.',
  gpus UInt32 COMMENT 'Samples in it of GPUs and MIG instances: rows of `gpu_samples`.',
  engines UInt32 COMMENT 'Samples in it of model servers: rows of `engine_samples`.',
  used_lines Nullable(UInt32) COMMENT 'Lines of the page that the samples were made of. NULL: no page was read.',
  rejected Map(LowCardinality(String), UInt64) COMMENT 'Lines that gave no sample, counted by reason.',
  rejected_lines Array(String) COMMENT 'The first of them that somebody should see, as they stood on the page.',
  rejected_reasons Array(LowCardinality(String)) COMMENT 'Why each of these was rejected.',
  topic_id LowCardinality(String) COMMENT 'Id of the topic `llm.gpu` on its log.',
  `partition` UInt32 COMMENT 'Partition of the log.',
  `offset` UInt64 COMMENT 'Offset in that partition: with it, a row for each record, though a scrape was sent twice.'
)
AS SELECT
  sampled_day,
  sampled_at,
  received_at,
  host,
  target,
  error,
  gpus,
  engines,
  used_lines,
  rejected,
  rejected_lines,
  rejected_reasons,
  topic_id,
  `partition`,
  `offset`
FROM llmtrail.gpu_scrapes_data FINAL
COMMENT 'Readings of targets: what each gave, and what could not be used of it.';
