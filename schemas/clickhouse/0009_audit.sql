-- Who used a token, who read what, and who was refused stands beside who changed the rules.

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS secret_id String COMMENT 'Which of the token''s secrets was shown: the first digits of its SHA-256, as `llmtrail tokens list` prints it. Of an unknown token too, where it is too strong to be guessed from them.' CODEC(ZSTD(1)) AFTER detail;

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS tenant String COMMENT 'Tenant that was asked for, where one was.' CODEC(ZSTD(1)) AFTER secret_id;

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS address String COMMENT 'Where the request came from.' CODEC(ZSTD(1)) AFTER tenant;

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS route LowCardinality(String) COMMENT 'Method and route that was asked, as it is declared.' CODEC(ZSTD(1)) AFTER address;

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS reason LowCardinality(String) COMMENT 'Why it was refused: unknown, expired, revoked, scope, tenant, statement, ...' CODEC(ZSTD(1)) AFTER route;

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS times UInt64 DEFAULT 1 COMMENT 'How many times, from changed_at to last_at.' CODEC(ZSTD(1)) AFTER reason;

ALTER TABLE llmtrail.audit_data
  ADD COLUMN IF NOT EXISTS last_at DateTime64(9, 'UTC') DEFAULT changed_at COMMENT 'When it was done last.' CODEC(ZSTD(1)) AFTER times;

ALTER TABLE llmtrail.audit_data
  COMMENT COLUMN IF EXISTS changed_at 'When it was done, first where several times; of a change when it was taken up; of uses of a token the hour.';

ALTER TABLE llmtrail.audit_data
  COMMENT COLUMN IF EXISTS actor 'Who did it, as far as is known: the token''s name; of a change the author told with the files, else the file''s owner.';

ALTER TABLE llmtrail.audit_data
  COMMENT COLUMN IF EXISTS action 'added, changed, removed, rotated (a token has other secrets), refused, foreign (a tenant''s token asked for what is not the tenant''s), read, replayed or used.';

ALTER TABLE llmtrail.audit_data
  COMMENT COLUMN IF EXISTS kind 'What was changed (budget, alarm, owner, channel, silence, maintenance, policy, token, ...) or asked for (request, table, dead letter, ...). `more`: what was too much for rows of its own.';

ALTER TABLE llmtrail.audit_data
  COMMENT COLUMN IF EXISTS name 'Its name; of a request its id.';

ALTER TABLE llmtrail.audit_data
  COMMENT COLUMN IF EXISTS detail 'What else is known, such as the statement, or why a change was refused.';

CREATE OR REPLACE VIEW llmtrail.audit
(
  changed_day Date COMMENT 'Day (UTC) of it; the partition.',
  changed_at DateTime64(9, 'UTC') COMMENT 'When it was done, first where several times; of a change when it was taken up; of uses of a token the hour.',
  audit_id String COMMENT 'Id of the entry: the same reported twice is one entry.',
  actor LowCardinality(String) COMMENT 'Who did it, as far as is known: the token''s name; of a change the author told with the files, else the file''s owner.',
  action LowCardinality(String) COMMENT 'added, changed, removed, rotated (a token has other secrets), refused, foreign (a tenant''s token asked for what is not the tenant''s), read, replayed or used.',
  kind LowCardinality(String) COMMENT 'What was changed (budget, alarm, owner, channel, silence, maintenance, policy, token, ...) or asked for (request, table, dead letter, ...). `more`: what was too much for rows of its own.',
  name String COMMENT 'Its name; of a request its id.',
  before String COMMENT 'What it was, as JSON; empty when it was added.',
  after String COMMENT 'What it is, as JSON; empty when it was removed.',
  detail String COMMENT 'What else is known, such as the statement, or why a change was refused.',
  secret_id String COMMENT 'Which of the token''s secrets was shown: the first digits of its SHA-256, as `llmtrail tokens list` prints it. Of an unknown token too, where it is too strong to be guessed from them.',
  tenant String COMMENT 'Tenant that was asked for, where one was.',
  address String COMMENT 'Where the request came from.',
  route LowCardinality(String) COMMENT 'Method and route that was asked, as it is declared.',
  reason LowCardinality(String) COMMENT 'Why it was refused: unknown, expired, revoked, scope, tenant, statement, ...',
  times UInt64 COMMENT 'How many times, from changed_at to last_at.',
  last_at DateTime64(9, 'UTC') COMMENT 'When it was done last.'
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
  detail,
  secret_id,
  tenant,
  address,
  route,
  reason,
  times,
  last_at
FROM llmtrail.audit_data FINAL
COMMENT 'Who changed rules, budgets, owners, channels and tokens, who read what, and who was refused.';
