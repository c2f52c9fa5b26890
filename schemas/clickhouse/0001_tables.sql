-- The tables. Views that people query are in 0002. Every setting of durability stands in the schema: an insert that
-- returned survives a power cut, and a folder cut off while merging still opens.

CREATE DATABASE IF NOT EXISTS llmtrail;

CREATE TABLE IF NOT EXISTS llmtrail.calls_data
(
  ingest_day Date COMMENT 'Day (UTC) on which the first event of the call was appended to the log; the partition.' CODEC(ZSTD(1)),
  call_id UUID COMMENT 'Id of the call, made once by the emitter; with its tenant the idempotency key.' CODEC(ZSTD(1)),
  revision UInt32 COMMENT 'Revision of the record; the highest one is shown.' CODEC(T64, ZSTD(1)),
  request_id Nullable(String) COMMENT 'The application''s own request id: what a support ticket holds.' CODEC(ZSTD(1)),
  trace_id Nullable(String) COMMENT 'Trace id, as 32 hexadecimal digits where it came from OpenTelemetry.' CODEC(ZSTD(1)),
  span_id Nullable(String) COMMENT 'Span id of the call.' CODEC(ZSTD(1)),
  parent_span_id Nullable(String) COMMENT 'Span id of the call''s parent.' CODEC(ZSTD(1)),
  session_id Nullable(String) COMMENT 'Session or conversation that the call belongs to.' CODEC(ZSTD(1)),
  provider_request_id Nullable(String) COMMENT 'The provider''s id of the (last) request.' CODEC(ZSTD(1)),
  tenant LowCardinality(String) COMMENT 'Tenant of the call: of the token that sent it, else what its event stated; empty where there is none. With the call id it names the call.' CODEC(ZSTD(1)),
  user_id Nullable(String) COMMENT 'The end user on whose behalf the call was made.' CODEC(ZSTD(1)),
  feature LowCardinality(Nullable(String)) COMMENT 'Product feature that made the call.' CODEC(ZSTD(1)),
  service LowCardinality(Nullable(String)) COMMENT 'Service that made the call.' CODEC(ZSTD(1)),
  environment LowCardinality(Nullable(String)) COMMENT 'Deployment environment: production, staging, …' CODEC(ZSTD(1)),
  host LowCardinality(Nullable(String)) COMMENT 'Machine or pod that made the call.' CODEC(ZSTD(1)),
  operation LowCardinality(Nullable(String)) COMMENT 'What was asked for: chat, text_completion, embeddings, …' CODEC(ZSTD(1)),
  provider LowCardinality(Nullable(String)) COMMENT 'Provider that was called: openai, anthropic, …' CODEC(ZSTD(1)),
  request_model LowCardinality(Nullable(String)) COMMENT 'Model that was asked for.' CODEC(ZSTD(1)),
  response_model LowCardinality(Nullable(String)) COMMENT 'Model that answered.' CODEC(ZSTD(1)),
  model LowCardinality(String) COMMENT 'The model''s one name, whatever it was asked for or answered by; empty where no model is known.' CODEC(ZSTD(1)),
  parameters Nullable(String) COMMENT 'Parameters of the request (temperature, …), as JSON text.' CODEC(ZSTD(1)),
  stream Nullable(Bool) COMMENT 'Whether the answer was streamed.' CODEC(ZSTD(1)),
  service_tier LowCardinality(Nullable(String)) COMMENT 'Service tier that served the call, as the answer reports it.' CODEC(ZSTD(1)),
  speed LowCardinality(Nullable(String)) COMMENT 'Speed at which the call was served, as the answer reports it.' CODEC(ZSTD(1)),
  region LowCardinality(Nullable(String)) COMMENT 'Where the call was processed, as the answer reports it.' CODEC(ZSTD(1)),
  prompt_version LowCardinality(Nullable(String)) COMMENT 'Version of the prompt that was live (versions.prompt).' CODEC(ZSTD(1)),
  prompt_name LowCardinality(Nullable(String)) COMMENT 'Name of the prompt (versions.prompt_name).' CODEC(ZSTD(1)),
  retrieval_version LowCardinality(Nullable(String)) COMMENT 'Version of the retrieval configuration (versions.retrieval).' CODEC(ZSTD(1)),
  parser_version LowCardinality(Nullable(String)) COMMENT 'Version of the parser (versions.parser).' CODEC(ZSTD(1)),
  model_config_version LowCardinality(Nullable(String)) COMMENT 'Version of the model configuration (versions.model_config).' CODEC(ZSTD(1)),
  release LowCardinality(Nullable(String)) COMMENT 'Release of the application (versions.release).' CODEC(ZSTD(1)),
  input_tokens Nullable(Int64) COMMENT 'Tokens sent, cache reads and writes included. NULL: unknown.' CODEC(T64, ZSTD(1)),
  output_tokens Nullable(Int64) COMMENT 'Tokens received, reasoning included. NULL: unknown.' CODEC(T64, ZSTD(1)),
  cache_read_tokens Nullable(Int64) COMMENT 'Input tokens read from the provider''s cache.' CODEC(T64, ZSTD(1)),
  cache_write_tokens Nullable(Int64) COMMENT 'Input tokens written to the provider''s cache.' CODEC(T64, ZSTD(1)),
  cache_write_1h_tokens Nullable(Int64) COMMENT 'Input tokens written to the provider''s one-hour cache.' CODEC(T64, ZSTD(1)),
  reasoning_tokens Nullable(Int64) COMMENT 'Output tokens spent on reasoning.' CODEC(T64, ZSTD(1)),
  input_audio_tokens Nullable(Int64) COMMENT 'Audio tokens sent.' CODEC(T64, ZSTD(1)),
  output_audio_tokens Nullable(Int64) COMMENT 'Audio tokens received.' CODEC(T64, ZSTD(1)),
  input_image_tokens Nullable(Int64) COMMENT 'Image tokens sent.' CODEC(T64, ZSTD(1)),
  output_image_tokens Nullable(Int64) COMMENT 'Image tokens received.' CODEC(T64, ZSTD(1)),
  web_search_requests Nullable(Int64) COMMENT 'Web searches that the provider ran and bills.' CODEC(T64, ZSTD(1)),
  cache_read_audio_tokens Nullable(Int64) COMMENT 'Audio tokens read from the provider''s cache; part of both counts.' CODEC(T64, ZSTD(1)),
  cache_read_image_tokens Nullable(Int64) COMMENT 'Image tokens read from the provider''s cache; part of both counts.' CODEC(T64, ZSTD(1)),
  input_video_tokens Nullable(Int64) COMMENT 'Video tokens sent.' CODEC(T64, ZSTD(1)),
  citation_tokens Nullable(Int64) COMMENT 'Tokens of cited sources that the provider bills beside input and output.' CODEC(T64, ZSTD(1)),
  file_search_requests Nullable(Int64) COMMENT 'File searches that the provider ran and bills.' CODEC(T64, ZSTD(1)),
  code_interpreter_sessions Nullable(Int64) COMMENT 'Sessions of a code interpreter that the provider started and bills.' CODEC(T64, ZSTD(1)),
  total_tokens Nullable(Int64) COMMENT 'Tokens in all, as the source reports them; checked against the parts, never priced.' CODEC(T64, ZSTD(1)),
  estimated_input_tokens Nullable(Int64) COMMENT 'Tokens sent, estimated from the text where the source reports none.' CODEC(T64, ZSTD(1)),
  estimated_output_tokens Nullable(Int64) COMMENT 'Tokens received, estimated from the text where the source reports none.' CODEC(T64, ZSTD(1)),
  reported_cost_nanousd Nullable(Int64) COMMENT 'Cost in nano-dollars as the caller reported it.' CODEC(T64, ZSTD(1)),
  cost_nanousd Nullable(Int64) COMMENT 'Cost in nano-dollars (10^9 = one dollar). NULL: unpriced, never 0.' CODEC(T64, ZSTD(1)),
  cost_source LowCardinality(String) COMMENT 'Where cost_nanousd comes from: computed, reported, estimated, not_billed, self_hosted, self_hosted_final or unpriced.' CODEC(ZSTD(1)),
  price_id LowCardinality(Nullable(String)) COMMENT 'Price that was applied: price book and entry.' CODEC(ZSTD(1)),
  unpriced_reason LowCardinality(Nullable(String)) COMMENT 'Why there is no cost.' CODEC(ZSTD(1)),
  cost_corrected_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When `llmtrail reprice` last corrected the cost; the entries are in price_corrections.' CODEC(ZSTD(1)),
  started_at DateTime64(9, 'UTC') COMMENT 'When the call began, as the event says (clamped to 1970 … 2262).' CODEC(Delta(8), ZSTD(1)),
  latency_ms Nullable(Float64) COMMENT 'Whole duration of the call in milliseconds, retries included.' CODEC(ZSTD(1)),
  time_to_first_token_ms Nullable(Float64) COMMENT 'Milliseconds until the first token of the answer.' CODEC(ZSTD(1)),
  counted_at Nullable(DateTime64(9, 'UTC')) COMMENT 'When the call counts, in statistics and budgets: its end, at most its first arrival; no revision moves it. NULL: it ended more than a day before it arrived.' CODEC(Delta(8), ZSTD(1)),
  clock_skew Bool COMMENT 'Whether started_at is more than 24 h away from the ingest time.' CODEC(ZSTD(1)),
  retry_count Nullable(UInt16) COMMENT 'Attempts after the first. NULL: the source cannot know.' CODEC(T64, ZSTD(1)),
  attempt_count Nullable(UInt16) COMMENT 'Attempts recorded in `attempts`. NULL: none were told.' CODEC(T64, ZSTD(1)),
  status LowCardinality(Nullable(String)) COMMENT 'ok or error: whether the caller got an answer.' CODEC(ZSTD(1)),
  failure_mode LowCardinality(Nullable(String)) COMMENT 'Why the call failed, from the closed set of failure modes. NULL: it did not.' CODEC(ZSTD(1)),
  error_type LowCardinality(Nullable(String)) COMMENT 'Type of the error, in the provider''s or the client''s words.' CODEC(ZSTD(1)),
  error_message Nullable(String) COMMENT 'Message of the error.' CODEC(ZSTD(1)),
  http_status Nullable(UInt16) COMMENT 'HTTP status of the error.' CODEC(T64, ZSTD(1)),
  handled_by LowCardinality(Nullable(String)) COMMENT 'What handled the failure: fallback_model, cached_answer, static_message, retried, raised, …' CODEC(ZSTD(1)),
  finish_reasons Array(LowCardinality(String)) COMMENT 'Why the model stopped, one for each choice; empty: unknown.' CODEC(ZSTD(1)),
  parser_status LowCardinality(Nullable(String)) COMMENT 'What the application''s parser said: ok, failed or not_run.' CODEC(ZSTD(1)),
  retrieval_status LowCardinality(Nullable(String)) COMMENT 'How the retrieval before the call ended.' CODEC(ZSTD(1)),
  retrieval_latency_ms Nullable(Float64) COMMENT 'Duration of the retrieval in milliseconds.' CODEC(ZSTD(1)),
  attributes Nullable(String) COMMENT 'Everything else the event held, as JSON text.' CODEC(ZSTD(1)),
  prompt_fingerprint Nullable(String) COMMENT 'Hash of the raw messages: equal prompts have equal fingerprints.' CODEC(ZSTD(1)),
  content_policy LowCardinality(Nullable(String)) COMMENT 'How content was treated before it was stored: full, redacted, hash or none.' CODEC(ZSTD(1)),
  input_bytes Nullable(Int64) COMMENT 'Bytes of the text that was sent, where the text itself is left out or cut.' CODEC(T64, ZSTD(1)),
  output_bytes Nullable(Int64) COMMENT 'Bytes of the text that was received, where the text itself is left out or cut.' CODEC(T64, ZSTD(1)),
  content_bytes UInt64 COMMENT 'Bytes of content of this revision (the columns of `bodies`).' CODEC(T64, ZSTD(1)),
  schema_version UInt16 COMMENT 'Version of the event''s schema.' CODEC(T64, ZSTD(1)),
  first_ingested_at DateTime64(9, 'UTC') COMMENT 'When the call''s first event was appended to the log.' CODEC(Delta(8), ZSTD(1)),
  ingested_at DateTime64(9, 'UTC') COMMENT 'When this revision was appended to the log.' CODEC(Delta(8), ZSTD(1)),
  bodies_key UInt64 COMMENT 'Place of the call''s content in `bodies`: hash of trace id, else request id, else call id of its first event.' CODEC(ZSTD(1)),
  content_hash UInt64 COMMENT 'Hash of the event''s bytes, by which repeats are known.' CODEC(ZSTD(1)),
  src_topic_id LowCardinality(String) COMMENT 'Id of the log topic that the event was read from.' CODEC(ZSTD(1)),
  src_partition UInt32 COMMENT 'Partition of the log that the event was read from.' CODEC(T64, ZSTD(1)),
  src_offset UInt64 COMMENT 'Offset in that partition.' CODEC(Delta(8), ZSTD(1)),
  record String COMMENT 'The event without content, ids and attributes, as JSON: what look-ups read in one piece.' CODEC(ZSTD(1)),
  `attempts.number` Array(UInt16) COMMENT 'Number of the attempt; the first is 1.' CODEC(ZSTD(1)),
  `attempts.started_at` Array(Nullable(DateTime64(9, 'UTC'))) COMMENT 'When the attempt began. NULL: unknown.' CODEC(ZSTD(1)),
  `attempts.latency_ms` Array(Nullable(Float64)) COMMENT 'Duration of the attempt in milliseconds.' CODEC(ZSTD(1)),
  `attempts.backoff_ms` Array(Nullable(Float64)) COMMENT 'Pause before the attempt in milliseconds.' CODEC(ZSTD(1)),
  `attempts.outcome` Array(LowCardinality(Nullable(String))) COMMENT 'How the attempt ended, in the source''s words.' CODEC(ZSTD(1)),
  `attempts.http_status` Array(Nullable(UInt16)) COMMENT 'HTTP status of the attempt.' CODEC(ZSTD(1)),
  `attempts.error_type` Array(LowCardinality(Nullable(String))) COMMENT 'Type of the attempt''s error.' CODEC(ZSTD(1)),
  `attempts.error_message` Array(Nullable(String)) COMMENT 'Message of the attempt''s error.' CODEC(ZSTD(1)),
  `attempts.provider_request_id` Array(Nullable(String)) COMMENT 'The provider''s id of the attempt.' CODEC(ZSTD(1)),
  `attempts.input_tokens` Array(Nullable(Int64)) COMMENT 'Tokens sent, cache reads and writes included. NULL: unknown.' CODEC(ZSTD(1)),
  `attempts.output_tokens` Array(Nullable(Int64)) COMMENT 'Tokens received, reasoning included. NULL: unknown.' CODEC(ZSTD(1)),
  `attempts.cache_read_tokens` Array(Nullable(Int64)) COMMENT 'Input tokens read from the provider''s cache.' CODEC(ZSTD(1)),
  `attempts.cache_write_tokens` Array(Nullable(Int64)) COMMENT 'Input tokens written to the provider''s cache.' CODEC(ZSTD(1)),
  `attempts.cache_write_1h_tokens` Array(Nullable(Int64)) COMMENT 'Input tokens written to the provider''s one-hour cache.' CODEC(ZSTD(1)),
  `attempts.reasoning_tokens` Array(Nullable(Int64)) COMMENT 'Output tokens spent on reasoning.' CODEC(ZSTD(1)),
  `attempts.input_audio_tokens` Array(Nullable(Int64)) COMMENT 'Audio tokens sent.' CODEC(ZSTD(1)),
  `attempts.output_audio_tokens` Array(Nullable(Int64)) COMMENT 'Audio tokens received.' CODEC(ZSTD(1)),
  `attempts.input_image_tokens` Array(Nullable(Int64)) COMMENT 'Image tokens sent.' CODEC(ZSTD(1)),
  `attempts.output_image_tokens` Array(Nullable(Int64)) COMMENT 'Image tokens received.' CODEC(ZSTD(1)),
  `attempts.web_search_requests` Array(Nullable(Int64)) COMMENT 'Web searches that the provider ran and bills.' CODEC(ZSTD(1)),
  `attempts.cache_read_audio_tokens` Array(Nullable(Int64)) COMMENT 'Audio tokens read from the provider''s cache; part of both counts.' CODEC(ZSTD(1)),
  `attempts.cache_read_image_tokens` Array(Nullable(Int64)) COMMENT 'Image tokens read from the provider''s cache; part of both counts.' CODEC(ZSTD(1)),
  `attempts.input_video_tokens` Array(Nullable(Int64)) COMMENT 'Video tokens sent.' CODEC(ZSTD(1)),
  `attempts.citation_tokens` Array(Nullable(Int64)) COMMENT 'Tokens of cited sources that the provider bills beside input and output.' CODEC(ZSTD(1)),
  `attempts.file_search_requests` Array(Nullable(Int64)) COMMENT 'File searches that the provider ran and bills.' CODEC(ZSTD(1)),
  `attempts.code_interpreter_sessions` Array(Nullable(Int64)) COMMENT 'Sessions of a code interpreter that the provider started and bills.' CODEC(ZSTD(1)),
  `attempts.total_tokens` Array(Nullable(Int64)) COMMENT 'Tokens in all, as the source reports them; checked against the parts, never priced.' CODEC(ZSTD(1)),
  INDEX started_at_minmax started_at TYPE minmax GRANULARITY 1,
  INDEX counted_at_minmax counted_at TYPE minmax GRANULARITY 1,
  INDEX src_offset_minmax src_offset TYPE minmax GRANULARITY 8,
  CONSTRAINT input_tokens_is_a_count CHECK input_tokens IS NULL OR (input_tokens >= 0 AND input_tokens <= 1099511627776),
  CONSTRAINT output_tokens_is_a_count CHECK output_tokens IS NULL OR (output_tokens >= 0 AND output_tokens <= 1099511627776),
  CONSTRAINT cache_read_tokens_is_a_count CHECK cache_read_tokens IS NULL OR (cache_read_tokens >= 0 AND cache_read_tokens <= 1099511627776),
  CONSTRAINT cache_write_tokens_is_a_count CHECK cache_write_tokens IS NULL OR (cache_write_tokens >= 0 AND cache_write_tokens <= 1099511627776),
  CONSTRAINT cache_write_1h_tokens_is_a_count CHECK cache_write_1h_tokens IS NULL OR (cache_write_1h_tokens >= 0 AND cache_write_1h_tokens <= 1099511627776),
  CONSTRAINT reasoning_tokens_is_a_count CHECK reasoning_tokens IS NULL OR (reasoning_tokens >= 0 AND reasoning_tokens <= 1099511627776),
  CONSTRAINT input_audio_tokens_is_a_count CHECK input_audio_tokens IS NULL OR (input_audio_tokens >= 0 AND input_audio_tokens <= 1099511627776),
  CONSTRAINT output_audio_tokens_is_a_count CHECK output_audio_tokens IS NULL OR (output_audio_tokens >= 0 AND output_audio_tokens <= 1099511627776),
  CONSTRAINT input_image_tokens_is_a_count CHECK input_image_tokens IS NULL OR (input_image_tokens >= 0 AND input_image_tokens <= 1099511627776),
  CONSTRAINT output_image_tokens_is_a_count CHECK output_image_tokens IS NULL OR (output_image_tokens >= 0 AND output_image_tokens <= 1099511627776),
  CONSTRAINT web_search_requests_is_a_count CHECK web_search_requests IS NULL OR (web_search_requests >= 0 AND web_search_requests <= 1099511627776),
  CONSTRAINT cache_read_audio_tokens_is_a_count CHECK cache_read_audio_tokens IS NULL OR (cache_read_audio_tokens >= 0 AND cache_read_audio_tokens <= 1099511627776),
  CONSTRAINT cache_read_image_tokens_is_a_count CHECK cache_read_image_tokens IS NULL OR (cache_read_image_tokens >= 0 AND cache_read_image_tokens <= 1099511627776),
  CONSTRAINT input_video_tokens_is_a_count CHECK input_video_tokens IS NULL OR (input_video_tokens >= 0 AND input_video_tokens <= 1099511627776),
  CONSTRAINT citation_tokens_is_a_count CHECK citation_tokens IS NULL OR (citation_tokens >= 0 AND citation_tokens <= 1099511627776),
  CONSTRAINT file_search_requests_is_a_count CHECK file_search_requests IS NULL OR (file_search_requests >= 0 AND file_search_requests <= 1099511627776),
  CONSTRAINT code_interpreter_sessions_is_a_count CHECK code_interpreter_sessions IS NULL OR (code_interpreter_sessions >= 0 AND code_interpreter_sessions <= 1099511627776),
  CONSTRAINT total_tokens_is_a_count CHECK total_tokens IS NULL OR (total_tokens >= 0 AND total_tokens <= 1099511627776),
  CONSTRAINT cost_nanousd_is_money CHECK cost_nanousd IS NULL OR (cost_nanousd >= 0 AND cost_nanousd <= 1000000000000000),
  CONSTRAINT reported_cost_nanousd_is_money CHECK reported_cost_nanousd IS NULL OR (reported_cost_nanousd >= 0 AND reported_cost_nanousd <= 1000000000000000)
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY ingest_day
ORDER BY (ingest_day, toUInt128(call_id), tenant)
TTL ingest_day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  min_bytes_for_wide_part = 134217728, non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024,
  min_compress_block_size = 16384, max_compress_block_size = 65536
COMMENT 'Calls as written; read `calls`, which shows the latest revision of each.';

CREATE TABLE IF NOT EXISTS llmtrail.bodies_data
(
  ingest_day Date COMMENT 'Day (UTC) on which the first event of the call was appended to the log; the partition.' CODEC(ZSTD(1)),
  bodies_key UInt64 COMMENT 'Hash of trace id, else request id, else call id, as the call''s first event has them.',
  call_id UUID COMMENT 'Id of the call.',
  revision UInt32 COMMENT 'Revision that brought this content.',
  tenant LowCardinality(String) COMMENT 'Tenant of the call: of the token that sent it, else what its event stated; empty where there is none. With the call id it names the call.',
  request_id Nullable(String) COMMENT 'The application''s own request id.',
  input Nullable(String) COMMENT 'Variables that the prompt was filled with; JSON text exactly as it was sent.',
  messages Nullable(String) COMMENT 'Messages sent to the model; JSON text exactly as it was sent.',
  prompt Nullable(String) COMMENT 'Prompt of a text completion; JSON text exactly as it was sent.',
  output Nullable(String) COMMENT 'What the model answered; JSON text exactly as it was sent.',
  tool_calls Nullable(String) COMMENT 'Tools that the model called; JSON text exactly as it was sent.',
  retrieval_query Nullable(String) COMMENT 'What was looked up before the call; JSON text exactly as it was sent.',
  retrieval_documents Nullable(String) COMMENT 'What the retrieval found; JSON text exactly as it was sent.',
  parser_value Nullable(String) COMMENT 'What the parser made of the answer; JSON text exactly as it was sent.',
  parser_error Nullable(String) COMMENT 'Why the parser rejected the answer, as plain text.'
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY ingest_day
ORDER BY (ingest_day, bodies_key, toUInt128(call_id), tenant)
TTL ingest_day + INTERVAL 90 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  min_bytes_for_wide_part = 134217728, non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 256,
  min_compress_block_size = 16384, max_compress_block_size = 1048576, default_compression_codec = 'ZSTD(1)'
COMMENT 'Content of the calls as written; read `bodies`.';

CREATE TABLE IF NOT EXISTS llmtrail.ids_data
(
  id_hash UInt64 DEFAULT cityHash64(id) COMMENT 'cityHash64 of the id: WHERE id_hash = cityHash64(''…'').' CODEC(ZSTD(1)),
  kind LowCardinality(String) COMMENT 'Kind of id: request, trace, session, provider_request, ticket, or call (where the call id does not tell its day).' CODEC(ZSTD(1)),
  tenant LowCardinality(String) COMMENT 'Tenant of that call; with the call id it names the call.' CODEC(ZSTD(1)),
  call_id UUID COMMENT 'A call that bears the id.' CODEC(ZSTD(1)),
  ingest_day Date COMMENT 'Partition of the call.' CODEC(ZSTD(1)),
  bodies_key UInt64 COMMENT 'Place of the call''s content in `bodies`.' CODEC(ZSTD(1)),
  id String EPHEMERAL COMMENT 'The id itself: hashed at insert, not kept here.'
)
ENGINE = ReplacingMergeTree
ORDER BY (id_hash, tenant, toUInt128(call_id))
TTL ingest_day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 0,
  index_granularity = 256,
  merge_with_ttl_timeout = 604800
COMMENT 'Every id a user may hold, with the calls that bear it; read `ids`.';

CREATE TABLE IF NOT EXISTS llmtrail.dead_letters_data
(
  received_day Date COMMENT 'Day (UTC) on which the event was appended to the log; the partition.' CODEC(ZSTD(1)),
  received_at DateTime64(9, 'UTC') COMMENT 'When the event was appended to the log.' CODEC(Delta(8), ZSTD(1)),
  topic LowCardinality(String) COMMENT 'Topic of the log.' CODEC(ZSTD(1)),
  topic_id LowCardinality(String) COMMENT 'Id of the topic.' CODEC(ZSTD(1)),
  `partition` UInt32 COMMENT 'Partition of the log.' CODEC(T64, ZSTD(1)),
  `offset` UInt64 COMMENT 'Offset in that partition.' CODEC(Delta(8), ZSTD(1)),
  item UInt32 COMMENT 'Number of the event within the record; 0 where the record is one event.' CODEC(T64, ZSTD(1)),
  tenant LowCardinality(String) COMMENT 'Tenant of the token that sent it.' CODEC(ZSTD(1)),
  reason LowCardinality(String) COMMENT 'Why it was rejected, from the closed set of reasons.' CODEC(ZSTD(1)),
  detail String COMMENT 'What to mend.' CODEC(ZSTD(1)),
  value_base64 String COMMENT 'The event byte for byte, in base64.' CODEC(ZSTD(1)),
  key_base64 String COMMENT 'The record''s key, in base64.' CODEC(ZSTD(1)),
  headers Map(LowCardinality(String), String) COMMENT 'The record''s headers.' CODEC(ZSTD(1)),
  replayed_at DateTime64(9, 'UTC') COMMENT 'When `llmtrail dead-letters replay` last sent it again; 1970: never.' CODEC(Delta(8), ZSTD(1)),
  outcome LowCardinality(String) COMMENT 'What became of it then: accepted or rejected; empty: it was never sent again.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(replayed_at)
PARTITION BY received_day
ORDER BY (received_day, topic_id, `partition`, `offset`, item)
TTL received_day + INTERVAL 90 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Rejected events as written; read `dead_letters`.';

CREATE TABLE IF NOT EXISTS llmtrail.price_corrections
(
  corrected_day Date COMMENT 'Day (UTC) of the correction; the partition.' CODEC(ZSTD(1)),
  tenant LowCardinality(String) COMMENT 'Tenant of the call; with the call id it names the call.' CODEC(ZSTD(1)),
  call_id UUID COMMENT 'The call whose cost was corrected.' CODEC(ZSTD(1)),
  ingest_day Date COMMENT 'Partition of the call.' CODEC(ZSTD(1)),
  revision UInt32 COMMENT 'Revision of the call that was corrected.' CODEC(T64, ZSTD(1)),
  old_cost_nanousd Nullable(Int64) COMMENT 'Cost before, in nano-dollars. NULL: it was unpriced.' CODEC(T64, ZSTD(1)),
  new_cost_nanousd Nullable(Int64) COMMENT 'Cost after, in nano-dollars.' CODEC(T64, ZSTD(1)),
  old_price_id LowCardinality(Nullable(String)) COMMENT 'Price that had been applied.' CODEC(ZSTD(1)),
  new_price_id LowCardinality(Nullable(String)) COMMENT 'Price that was applied instead.' CODEC(ZSTD(1)),
  new_cost_source LowCardinality(String) COMMENT 'Where the new cost comes from.' CODEC(ZSTD(1)),
  new_unpriced_reason LowCardinality(Nullable(String)) COMMENT 'Why there is still no cost.' CODEC(ZSTD(1)),
  reason String COMMENT 'Why the correction was made.' CODEC(ZSTD(1)),
  corrected_at DateTime64(3, 'UTC') COMMENT 'When it was made.' CODEC(ZSTD(1)),
  book_id LowCardinality(String) COMMENT 'Price book that the correction used.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY corrected_day
ORDER BY (corrected_day, toUInt128(call_id), tenant, corrected_at)
TTL corrected_day + INTERVAL 400 DAY
SETTINGS
  fsync_after_insert = 1, fsync_part_directory = 1,
  min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
  max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000,
  non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1,
  index_granularity = 1024
COMMENT 'Every correction of a stored cost; the corrected cost itself is in `calls`.';
