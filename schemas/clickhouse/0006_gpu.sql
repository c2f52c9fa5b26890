-- What GPUs and model servers did, where deployments run, and what GPUs cost. One row a sample; the roll-up is
-- made by the writer from the samples, again whenever one came late, so it never counts any twice.
-- Samples lie in compact parts: who asks reads all columns of a few rows, which then stand side by side.

CREATE TABLE IF NOT EXISTS llmtrail.gpu_samples_data
(
  sampled_day Date COMMENT 'Day (UTC) of the sample; the partition.' CODEC(ZSTD(1)),
  sampled_at DateTime64(3, 'UTC') COMMENT 'When it was read, by the node''s clock.' CODEC(DoubleDelta, ZSTD(1)),
  received_at DateTime64(3, 'UTC') COMMENT 'When the log took it, by the log''s clock: the difference tells how far the node''s clock is off.' CODEC(Delta(8), ZSTD(1)),
  host LowCardinality(String) COMMENT 'Node, as its samples name it.' CODEC(ZSTD(1)),
  gpu_uuid LowCardinality(String) COMMENT 'The GPU''s own id, GPU-….' CODEC(ZSTD(1)),
  mig_instance LowCardinality(String) COMMENT 'Number of the MIG instance on its GPU; empty for a whole GPU.' CODEC(ZSTD(1)),
  gpu_index Nullable(UInt16) COMMENT 'Number of the GPU on its node.' CODEC(ZSTD(1)),
  gpu_name LowCardinality(String) COMMENT 'Model, such as NVIDIA H200.' CODEC(ZSTD(1)),
  mig_profile LowCardinality(String) COMMENT 'Profile of the MIG instance, such as 1g.18gb; empty for a whole GPU.' CODEC(ZSTD(1)),
  namespace LowCardinality(String) COMMENT 'Kubernetes namespace of the pod; empty where none is known.' CODEC(ZSTD(1)),
  pod LowCardinality(String) COMMENT 'Pod that has the GPU; empty where none has, or none is known.' CODEC(ZSTD(1)),
  container LowCardinality(String) COMMENT 'Its container.' CODEC(ZSTD(1)),
  source LowCardinality(String) COMMENT 'Who told it: dcgm or nvml.' CODEC(ZSTD(1)),
  utilization Nullable(Float32) COMMENT 'Share of time in which a kernel ran, 0 to 1; without meaning on MIG instances.' CODEC(ZSTD(1)),
  engine_active Nullable(Float32) COMMENT 'Share of time in which the graphics or compute engine was active, 0 to 1; true on MIG instances too.' CODEC(ZSTD(1)),
  tensor_active Nullable(Float32) COMMENT 'Share of cycles in which the tensor cores were active, 0 to 1.' CODEC(ZSTD(1)),
  dram_active Nullable(Float32) COMMENT 'Share of cycles in which memory was read or written, 0 to 1.' CODEC(ZSTD(1)),
  memory_used_bytes Nullable(UInt64) COMMENT 'Memory in use.' CODEC(T64, ZSTD(1)),
  memory_total_bytes Nullable(UInt64) COMMENT 'Memory that the GPU or MIG instance has for use: used and free.' CODEC(T64, ZSTD(1)),
  temperature_c Nullable(Float32) COMMENT 'Temperature of the GPU in degrees Celsius.' CODEC(ZSTD(1)),
  memory_temperature_c Nullable(Float32) COMMENT 'Temperature of its memory in degrees Celsius.' CODEC(ZSTD(1)),
  power_w Nullable(Float32) COMMENT 'Power drawn in watts.' CODEC(ZSTD(1)),
  power_limit_w Nullable(Float32) COMMENT 'Power that it may draw, in watts.' CODEC(ZSTD(1)),
  energy_j Nullable(Float64) COMMENT 'Energy used since the driver was loaded, in joules: a counter.' CODEC(ZSTD(1)),
  sm_clock_mhz Nullable(Float32) COMMENT 'Clock of the multiprocessors in MHz.' CODEC(ZSTD(1)),
  memory_clock_mhz Nullable(Float32) COMMENT 'Clock of the memory in MHz.' CODEC(ZSTD(1)),
  throttle_reasons Array(LowCardinality(String)) COMMENT 'Why the clocks are held down: sw_power_cap, hw_slowdown, sw_thermal, hw_thermal, hw_power_brake, …; empty: they are not, or nobody told.' CODEC(ZSTD(1)),
  xid Nullable(UInt32) COMMENT 'Code of a driver error that was new in this sample: an event, never a sum. NULL: none.' CODEC(ZSTD(1)),
  ecc_corrected Nullable(UInt64) COMMENT 'Memory errors that were corrected, a counter.' CODEC(T64, ZSTD(1)),
  ecc_uncorrected Nullable(UInt64) COMMENT 'Memory errors that were not, a counter.' CODEC(T64, ZSTD(1)),
  remapped_rows_corrected Nullable(UInt64) COMMENT 'Memory rows remapped for corrected errors, a counter.' CODEC(T64, ZSTD(1)),
  remapped_rows_uncorrected Nullable(UInt64) COMMENT 'Memory rows remapped for uncorrected errors, a counter.' CODEC(T64, ZSTD(1)),
  row_remap_failed Nullable(Bool) COMMENT 'Whether remapping a row has failed: the GPU is to be replaced.' CODEC(ZSTD(1)),
  pcie_replays Nullable(UInt64) COMMENT 'PCIe packets that were sent again, a counter.' CODEC(T64, ZSTD(1)),
  nvlink_bytes_s Nullable(Float32) COMMENT 'Bytes a second over NVLink, both ways.' CODEC(ZSTD(1)),
  pcie_sent_bytes_s Nullable(Float32) COMMENT 'Bytes a second sent over PCIe.' CODEC(ZSTD(1)),
  pcie_received_bytes_s Nullable(Float32) COMMENT 'Bytes a second received over PCIe.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY sampled_day
ORDER BY (host, sampled_at, gpu_uuid, mig_instance)
TTL sampled_day + INTERVAL 90 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024,
  min_bytes_for_wide_part = 100000000000, min_rows_for_wide_part = 10000000000
COMMENT 'Samples of GPUs as written; read `gpu_samples`.';

CREATE TABLE IF NOT EXISTS llmtrail.engine_samples_data
(
  sampled_day Date COMMENT 'Day (UTC) of the sample; the partition.' CODEC(ZSTD(1)),
  sampled_at DateTime64(3, 'UTC') COMMENT 'When it was read, by the node''s clock.' CODEC(DoubleDelta, ZSTD(1)),
  received_at DateTime64(3, 'UTC') COMMENT 'When the log took it, by the log''s clock: the difference tells how far the node''s clock is off.' CODEC(Delta(8), ZSTD(1)),
  host LowCardinality(String) COMMENT 'Node, as its samples name it.' CODEC(ZSTD(1)),
  address LowCardinality(String) COMMENT 'Where the server was asked: host:port.' CODEC(ZSTD(1)),
  engine LowCardinality(String) COMMENT 'What the server is: vllm, sglang, tgi, triton, trtllm, lmdeploy, llamacpp or nim.' CODEC(ZSTD(1)),
  model LowCardinality(String) COMMENT 'Model that it serves, as it names it.' CODEC(ZSTD(1)),
  namespace LowCardinality(String) COMMENT 'Kubernetes namespace of the pod; empty where none is known.' CODEC(ZSTD(1)),
  pod LowCardinality(String) COMMENT 'Pod that has the GPU; empty where none has, or none is known.' CODEC(ZSTD(1)),
  container LowCardinality(String) COMMENT 'Its container.' CODEC(ZSTD(1)),
  running Nullable(UInt64) COMMENT 'Requests being worked on.' CODEC(T64, ZSTD(1)),
  waiting Nullable(UInt64) COMMENT 'Requests in the queue.' CODEC(T64, ZSTD(1)),
  kv_cache_used Nullable(Float32) COMMENT 'Share of the KV-cache in use, 0 to 1.' CODEC(ZSTD(1)),
  preemptions Nullable(UInt64) COMMENT 'Requests put back because the KV-cache was full, a counter.' CODEC(T64, ZSTD(1)),
  prefix_cache_queries Nullable(UInt64) COMMENT 'Tokens looked up in the prefix cache, a counter.' CODEC(T64, ZSTD(1)),
  prefix_cache_hits Nullable(UInt64) COMMENT 'Tokens found there, a counter.' CODEC(T64, ZSTD(1)),
  prompt_tokens Nullable(UInt64) COMMENT 'Tokens read in prompts, a counter.' CODEC(T64, ZSTD(1)),
  generated_tokens Nullable(UInt64) COMMENT 'Tokens generated, a counter.' CODEC(T64, ZSTD(1)),
  tokens_s Nullable(Float32) COMMENT 'Tokens generated a second since the sample before.' CODEC(ZSTD(1)),
  time_to_first_token_ms Nullable(Float32) COMMENT 'Mean time to the first token since the sample before, as the server saw it.' CODEC(ZSTD(1)),
  time_per_token_ms Nullable(Float32) COMMENT 'Mean time between tokens since the sample before, as the server saw it.' CODEC(ZSTD(1)),
  queue_ms Nullable(Float32) COMMENT 'Mean time that requests waited since the sample before.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY sampled_day
ORDER BY (host, sampled_at, address, model)
TTL sampled_day + INTERVAL 90 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024,
  min_bytes_for_wide_part = 100000000000, min_rows_for_wide_part = 10000000000
COMMENT 'Samples of model servers as written; read `engine_samples`.';

CREATE TABLE IF NOT EXISTS llmtrail.gpu_5m_data
(
  day Date COMMENT 'Day (UTC) of the five minutes; the partition.' CODEC(ZSTD(1)),
  start DateTime('UTC') COMMENT 'When the five minutes begin.' CODEC(Delta(4), ZSTD(1)),
  host LowCardinality(String) COMMENT 'Node, as its samples name it.' CODEC(ZSTD(1)),
  gpu_uuid LowCardinality(String) COMMENT 'The GPU''s own id, GPU-….' CODEC(ZSTD(1)),
  mig_instance LowCardinality(String) COMMENT 'Number of the MIG instance on its GPU; empty for a whole GPU.' CODEC(ZSTD(1)),
  gpu_index Nullable(UInt16) COMMENT 'Number of the GPU on its node.' CODEC(ZSTD(1)),
  rolled_at DateTime64(9, 'UTC') COMMENT 'When it was made from the samples: the newest row counts.' CODEC(ZSTD(1)),
  gpu_name LowCardinality(String) COMMENT 'Model, such as NVIDIA H200.' CODEC(ZSTD(1)),
  namespace LowCardinality(String) COMMENT 'Kubernetes namespace of the pod; empty where none is known.' CODEC(ZSTD(1)),
  pod LowCardinality(String) COMMENT 'Pod that has the GPU; empty where none has, or none is known.' CODEC(ZSTD(1)),
  samples UInt32 COMMENT 'Samples that it was made from.' CODEC(T64, ZSTD(1)),
  covered_s Float32 COMMENT 'Seconds of the five minutes that the samples cover.' CODEC(ZSTD(1)),
  utilization Nullable(Float32) COMMENT 'Mean share of time in which a kernel ran; of the engine''s activity where that alone is told.' CODEC(ZSTD(1)),
  utilization_max Nullable(Float32) COMMENT 'Highest.' CODEC(ZSTD(1)),
  busy_s Nullable(Float32) COMMENT 'Seconds in which it was in use: covered_s times utilization.' CODEC(ZSTD(1)),
  memory_used_bytes_max Nullable(UInt64) COMMENT 'Most memory in use.' CODEC(T64, ZSTD(1)),
  memory_total_bytes Nullable(UInt64) COMMENT 'Memory that it has for use.' CODEC(T64, ZSTD(1)),
  temperature_c_max Nullable(Float32) COMMENT 'Highest temperature in degrees Celsius.' CODEC(ZSTD(1)),
  power_w Nullable(Float32) COMMENT 'Mean power in watts.' CODEC(ZSTD(1)),
  energy_j Nullable(Float64) COMMENT 'Energy used in the covered seconds, in joules: mean power times covered_s.' CODEC(ZSTD(1)),
  sm_clock_mhz Nullable(Float32) COMMENT 'Mean clock of the multiprocessors in MHz.' CODEC(ZSTD(1)),
  throttled_samples UInt32 COMMENT 'Samples in which the clocks were held down.' CODEC(T64, ZSTD(1)),
  throttle_reasons Array(LowCardinality(String)) COMMENT 'Why.' CODEC(ZSTD(1)),
  xids Array(UInt32) COMMENT 'Codes of driver errors that were new.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(rolled_at)
PARTITION BY day
ORDER BY (start, host, gpu_uuid, mig_instance)
TTL day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Five minutes of each GPU as written; read `gpu_5m`.';

CREATE TABLE IF NOT EXISTS llmtrail.gpu_deployments_data
(
  deployment String COMMENT 'Name of the deployment: [gpu.deployments.NAME] of the configuration.' CODEC(ZSTD(1)),
  address String COMMENT 'Address that calls tell as server.address, with or without a port; empty: any.' CODEC(ZSTD(1)),
  model String COMMENT 'Model that calls ask for; empty: any.' CODEC(ZSTD(1)),
  host String COMMENT 'Node it runs on; empty: any.' CODEC(ZSTD(1)),
  gpu String COMMENT 'The GPU''s id or its number on the node; empty: all of the node.' CODEC(ZSTD(1)),
  pod String COMMENT 'Pods that it runs in, * for any text; empty: any.' CODEC(ZSTD(1)),
  version UInt64 COMMENT 'When it was written, in nanoseconds: the newest version is the whole map.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (version, deployment, address, model, host, gpu, pod)
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Deployments as written; read `gpu_deployments`.';

CREATE TABLE IF NOT EXISTS llmtrail.gpu_places_data
(
  day Date COMMENT 'Day (UTC) on which it was sampled; the partition.' CODEC(ZSTD(1)),
  host String COMMENT 'Node, as its samples name it.' CODEC(ZSTD(1)),
  namespace String COMMENT 'Kubernetes namespace of the pod; empty where none is known.' CODEC(ZSTD(1)),
  pod String COMMENT 'Pod; empty where none is known.' CODEC(ZSTD(1)),
  gpu_uuid String COMMENT 'The GPU''s own id; empty for a model server.' CODEC(ZSTD(1)),
  gpu_index Nullable(UInt16) COMMENT 'Number of the GPU on its node.' CODEC(ZSTD(1)),
  address String COMMENT 'Where a model server was asked: host:port; empty for a GPU.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (day, host, namespace, pod, gpu_uuid, address)
TTL day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Places as written; read `gpu_places`.';

CREATE TABLE IF NOT EXISTS llmtrail.gpu_prices_data
(
  gpu String COMMENT 'Whose price: a GPU''s model, such as NVIDIA H200, or the name of a deployment.' CODEC(ZSTD(1)),
  valid_from DateTime('UTC') COMMENT 'From when on it holds.' CODEC(ZSTD(1)),
  valid_to DateTime('UTC') COMMENT 'Until when it holds, excluded; 2106 where no end is known.' CODEC(ZSTD(1)),
  nanousd_per_hour Int64 COMMENT 'What one GPU costs in an hour, in nano-dollars (10^9 = one dollar).' CODEC(ZSTD(1)),
  version UInt64 COMMENT 'When it was written, in nanoseconds: the newest version is the whole list.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (version, gpu, valid_from)
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Prices of GPU hours as written; read `gpu_prices`.';

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

CREATE OR REPLACE VIEW llmtrail.engine_samples
(
  sampled_day Date COMMENT 'Day (UTC) of the sample; the partition.',
  sampled_at DateTime64(3, 'UTC') COMMENT 'When it was read, by the node''s clock.',
  received_at DateTime64(3, 'UTC') COMMENT 'When the log took it, by the log''s clock: the difference tells how far the node''s clock is off.',
  host LowCardinality(String) COMMENT 'Node, as its samples name it.',
  address LowCardinality(String) COMMENT 'Where the server was asked: host:port.',
  engine LowCardinality(String) COMMENT 'What the server is: vllm, sglang, tgi, triton, trtllm, lmdeploy, llamacpp or nim.',
  model LowCardinality(String) COMMENT 'Model that it serves, as it names it.',
  namespace LowCardinality(String) COMMENT 'Kubernetes namespace of the pod; empty where none is known.',
  pod LowCardinality(String) COMMENT 'Pod that has the GPU; empty where none has, or none is known.',
  container LowCardinality(String) COMMENT 'Its container.',
  running Nullable(UInt64) COMMENT 'Requests being worked on.',
  waiting Nullable(UInt64) COMMENT 'Requests in the queue.',
  kv_cache_used Nullable(Float32) COMMENT 'Share of the KV-cache in use, 0 to 1.',
  preemptions Nullable(UInt64) COMMENT 'Requests put back because the KV-cache was full, a counter.',
  prefix_cache_queries Nullable(UInt64) COMMENT 'Tokens looked up in the prefix cache, a counter.',
  prefix_cache_hits Nullable(UInt64) COMMENT 'Tokens found there, a counter.',
  prompt_tokens Nullable(UInt64) COMMENT 'Tokens read in prompts, a counter.',
  generated_tokens Nullable(UInt64) COMMENT 'Tokens generated, a counter.',
  tokens_s Nullable(Float32) COMMENT 'Tokens generated a second since the sample before.',
  time_to_first_token_ms Nullable(Float32) COMMENT 'Mean time to the first token since the sample before, as the server saw it.',
  time_per_token_ms Nullable(Float32) COMMENT 'Mean time between tokens since the sample before, as the server saw it.',
  queue_ms Nullable(Float32) COMMENT 'Mean time that requests waited since the sample before.'
)
AS SELECT
  sampled_day,
  sampled_at,
  received_at,
  host,
  address,
  engine,
  model,
  namespace,
  pod,
  container,
  running,
  waiting,
  kv_cache_used,
  preemptions,
  prefix_cache_queries,
  prefix_cache_hits,
  prompt_tokens,
  generated_tokens,
  tokens_s,
  time_to_first_token_ms,
  time_per_token_ms,
  queue_ms
FROM llmtrail.engine_samples_data FINAL
COMMENT 'What each model server did, one row a sample.';

CREATE OR REPLACE VIEW llmtrail.gpu_5m
(
  day Date COMMENT 'Day (UTC) of the five minutes; the partition.',
  start DateTime('UTC') COMMENT 'When the five minutes begin.',
  host LowCardinality(String) COMMENT 'Node, as its samples name it.',
  gpu_uuid LowCardinality(String) COMMENT 'The GPU''s own id, GPU-….',
  mig_instance LowCardinality(String) COMMENT 'Number of the MIG instance on its GPU; empty for a whole GPU.',
  gpu_index Nullable(UInt16) COMMENT 'Number of the GPU on its node.',
  rolled_at DateTime64(9, 'UTC') COMMENT 'When it was made from the samples: the newest row counts.',
  gpu_name LowCardinality(String) COMMENT 'Model, such as NVIDIA H200.',
  namespace LowCardinality(String) COMMENT 'Kubernetes namespace of the pod; empty where none is known.',
  pod LowCardinality(String) COMMENT 'Pod that has the GPU; empty where none has, or none is known.',
  samples UInt32 COMMENT 'Samples that it was made from.',
  covered_s Float32 COMMENT 'Seconds of the five minutes that the samples cover.',
  utilization Nullable(Float32) COMMENT 'Mean share of time in which a kernel ran; of the engine''s activity where that alone is told.',
  utilization_max Nullable(Float32) COMMENT 'Highest.',
  busy_s Nullable(Float32) COMMENT 'Seconds in which it was in use: covered_s times utilization.',
  memory_used_bytes_max Nullable(UInt64) COMMENT 'Most memory in use.',
  memory_total_bytes Nullable(UInt64) COMMENT 'Memory that it has for use.',
  temperature_c_max Nullable(Float32) COMMENT 'Highest temperature in degrees Celsius.',
  power_w Nullable(Float32) COMMENT 'Mean power in watts.',
  energy_j Nullable(Float64) COMMENT 'Energy used in the covered seconds, in joules: mean power times covered_s.',
  sm_clock_mhz Nullable(Float32) COMMENT 'Mean clock of the multiprocessors in MHz.',
  throttled_samples UInt32 COMMENT 'Samples in which the clocks were held down.',
  throttle_reasons Array(LowCardinality(String)) COMMENT 'Why.',
  xids Array(UInt32) COMMENT 'Codes of driver errors that were new.'
)
AS SELECT
  day,
  start,
  host,
  gpu_uuid,
  mig_instance,
  gpu_index,
  rolled_at,
  gpu_name,
  namespace,
  pod,
  samples,
  covered_s,
  utilization,
  utilization_max,
  busy_s,
  memory_used_bytes_max,
  memory_total_bytes,
  temperature_c_max,
  power_w,
  energy_j,
  sm_clock_mhz,
  throttled_samples,
  throttle_reasons,
  xids
FROM llmtrail.gpu_5m_data FINAL
COMMENT 'Five minutes of each GPU or MIG instance.';

CREATE OR REPLACE VIEW llmtrail.gpu_deployments
(
  deployment String COMMENT 'Name of the deployment: [gpu.deployments.NAME] of the configuration.',
  address String COMMENT 'Address that calls tell as server.address, with or without a port; empty: any.',
  model String COMMENT 'Model that calls ask for; empty: any.',
  host String COMMENT 'Node it runs on; empty: any.',
  gpu String COMMENT 'The GPU''s id or its number on the node; empty: all of the node.',
  pod String COMMENT 'Pods that it runs in, * for any text; empty: any.',
  version UInt64 COMMENT 'When it was written, in nanoseconds: the newest version is the whole map.'
)
AS SELECT
  deployment,
  address,
  model,
  host,
  gpu,
  pod,
  version
FROM llmtrail.gpu_deployments_data FINAL
WHERE version = (SELECT max(version) FROM llmtrail.gpu_deployments_data) AND deployment != ''
COMMENT 'Which GPUs answer which calls, as the configuration tells.';

CREATE OR REPLACE VIEW llmtrail.gpu_places
(
  day Date COMMENT 'Day (UTC) on which it was sampled; the partition.',
  host String COMMENT 'Node, as its samples name it.',
  namespace String COMMENT 'Kubernetes namespace of the pod; empty where none is known.',
  pod String COMMENT 'Pod; empty where none is known.',
  gpu_uuid String COMMENT 'The GPU''s own id; empty for a model server.',
  gpu_index Nullable(UInt16) COMMENT 'Number of the GPU on its node.',
  address String COMMENT 'Where a model server was asked: host:port; empty for a GPU.'
)
AS SELECT
  day,
  host,
  namespace,
  pod,
  gpu_uuid,
  gpu_index,
  address
FROM llmtrail.gpu_places_data FINAL
COMMENT 'What was sampled on a day: which GPUs and model servers there were, on which nodes, in which pods.';

CREATE OR REPLACE VIEW llmtrail.gpu_prices
(
  gpu String COMMENT 'Whose price: a GPU''s model, such as NVIDIA H200, or the name of a deployment.',
  valid_from DateTime('UTC') COMMENT 'From when on it holds.',
  valid_to DateTime('UTC') COMMENT 'Until when it holds, excluded; 2106 where no end is known.',
  nanousd_per_hour Int64 COMMENT 'What one GPU costs in an hour, in nano-dollars (10^9 = one dollar).',
  version UInt64 COMMENT 'When it was written, in nanoseconds: the newest version is the whole list.'
)
AS SELECT
  gpu,
  valid_from,
  valid_to,
  nanousd_per_hour,
  version
FROM llmtrail.gpu_prices_data FINAL
WHERE version = (SELECT max(version) FROM llmtrail.gpu_prices_data) AND gpu != ''
COMMENT 'What an hour of a GPU costs, as the override file tells.';

CREATE OR REPLACE VIEW llmtrail.gpu_calls
(
  deployment String COMMENT 'Deployment that answered the call.',
  host String COMMENT 'Node that it runs on: a call has a row for each node that may have answered it.',
  call_id UUID COMMENT 'The call.',
  request_id Nullable(String) COMMENT 'The application''s own id of its request.',
  model Nullable(String) COMMENT 'Model that was asked for.',
  started_at DateTime64(9, 'UTC') COMMENT 'When it began.',
  ended_at DateTime64(9, 'UTC') COMMENT 'When it ended; its start where its latency is unknown.',
  latency_ms Nullable(Float64) COMMENT 'How long it took.',
  time_to_first_token_ms Nullable(Float64) COMMENT 'When its first token came.',
  failure_mode Nullable(String) COMMENT 'Why it failed; NULL: it did not.',
  input_tokens Nullable(Int64) COMMENT 'Tokens sent.',
  output_tokens Nullable(Int64) COMMENT 'Tokens received.',
  feature Nullable(String) COMMENT 'Part of the application that made it.'
)
AS SELECT DISTINCT
  d.deployment AS deployment,
  d.host AS host,
  c.call_id AS call_id,
  c.request_id AS request_id,
  c.request_model AS model,
  c.started_at AS started_at,
  c.started_at + toIntervalNanosecond(toInt64(ifNull(c.latency_ms, 0) * 1000000)) AS ended_at,
  c.latency_ms AS latency_ms,
  c.time_to_first_token_ms AS time_to_first_token_ms,
  c.failure_mode AS failure_mode,
  c.input_tokens AS input_tokens,
  c.output_tokens AS output_tokens,
  c.feature AS feature
FROM llmtrail.calls AS c
CROSS JOIN llmtrail.gpu_deployments AS d
WHERE (d.model = '' OR d.model = c.request_model)
  AND (d.address != '' OR d.model != '')
  AND (d.address = '' OR d.address = lower(JSONExtractString(ifNull(c.attributes, ''), 'server.address'))
    OR d.address = concat(lower(JSONExtractString(ifNull(c.attributes, ''), 'server.address')), ':', JSONExtractRaw(ifNull(c.attributes, ''), 'server.port')))
COMMENT 'Calls of configured deployments, with the nodes that may have answered them.';

CREATE OR REPLACE VIEW llmtrail.gpu_hours
(
  deployment String COMMENT 'Deployment that has the GPU.',
  start DateTime('UTC') COMMENT 'When the five minutes begin.',
  host String COMMENT 'Node.',
  gpu_uuid String COMMENT 'The GPU''s own id.',
  mig_instance String COMMENT 'Number of the MIG instance on its GPU; empty for a whole GPU.',
  gpu_name String COMMENT 'Model of the GPU.',
  covered_s Float64 COMMENT 'Seconds that samples cover.',
  busy_s Nullable(Float64) COMMENT 'Seconds in which it was in use.',
  energy_j Nullable(Float64) COMMENT 'Energy used in the covered seconds, in joules.',
  cost_nanousd Nullable(Float64) COMMENT 'What the covered seconds cost, in nano-dollars. NULL: no price holds at that time.',
  idle_nanousd Nullable(Float64) COMMENT 'Of that, what the seconds cost in which it was not in use.'
)
AS WITH
  (SELECT groupArray((gpu, valid_from, valid_to, nanousd_per_hour)) FROM llmtrail.gpu_prices) AS prices,
  arrayFilter(p -> p.1 IN (d.deployment, g.gpu_name) AND p.2 <= g.start AND g.start < p.3, prices) AS named,
  arraySort(p -> p.1 != d.deployment, named) AS own_first,
  if(empty(own_first), NULL, own_first[1].4 / 3600) AS nanousd_s
SELECT
  d.deployment AS deployment,
  g.start AS start,
  g.host AS host,
  g.gpu_uuid AS gpu_uuid,
  g.mig_instance AS mig_instance,
  g.gpu_name AS gpu_name,
  toFloat64(g.covered_s) AS covered_s,
  toFloat64(g.busy_s) AS busy_s,
  g.energy_j AS energy_j,
  g.covered_s * nanousd_s AS cost_nanousd,
  (g.covered_s - g.busy_s) * nanousd_s AS idle_nanousd
FROM llmtrail.gpu_5m AS g
INNER JOIN llmtrail.gpu_deployments AS d ON g.host = d.host
WHERE (d.gpu = '' OR d.gpu = g.gpu_uuid OR d.gpu = toString(ifNull(g.gpu_index, 65535)))
  AND (d.pod = '' OR g.pod LIKE replaceAll(d.pod, '*', '%'))
LIMIT 1 BY start, host, gpu_uuid, mig_instance, deployment
COMMENT 'Five minutes of each GPU of a deployment, with energy and cost; deployments that name no node are left out.';
