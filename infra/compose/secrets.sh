#!/usr/bin/env bash
# Make the secrets that compose.yaml mounts, once: what is there stays. They are random and never leave ./secrets.
set -euo pipefail
# A step of its own: inside `cd` its failure would pass, and secrets would land wherever this was called from.
here=$(dirname -- "${BASH_SOURCE[0]}")
cd -- "$here"
# Nobody else may enter the folder. The files themselves are mounted, and read by users that the images choose.
mkdir -p secrets
chmod 700 secrets

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

make_once() {  # make_once NAME TEXT
  if [[ ! -e secrets/$1 ]]; then
    (umask 022; printf '%s' "$2" > "secrets/$1.new"; mv "secrets/$1.new" "secrets/$1")
    echo "made secrets/$1"
  fi
}

make_once ingest_token "$(random)"
make_once read_token "$(random)"
make_once metrics_token "$(random)"
make_once clickhouse_password "$(random)"
password=$(< secrets/clickhouse_password)
make_once clickhouse_url "http://llmtrail:$password@clickhouse:8123"
# ClickHouse keeps only the hash of it.
hash=$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1)
make_once clickhouse_user.xml "<clickhouse>
  <users>
    <llmtrail>
      <password_sha256_hex>$hash</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </llmtrail>
  </users>
</clickhouse>
"

# Grafana's own: a password for its people, and a user of ClickHouse that reads llmtrail's tables and nothing else.
make_once grafana_admin_password "$(random)"
make_once grafana_clickhouse_password "$(random)"
hash=$(printf '%s' "$(< secrets/grafana_clickhouse_password)" | sha256sum | cut -d ' ' -f 1)
make_once clickhouse_grafana_user.xml "<clickhouse>
  <profiles>
    <grafana>
      <!-- Reads only; the plugin sets limits of time on its statements, which 1 would refuse. -->
      <readonly>2</readonly>
      <max_execution_time>60</max_execution_time>
      <max_memory_usage>1000000000</max_memory_usage>
    </grafana>
  </profiles>
  <users>
    <grafana>
      <password_sha256_hex>$hash</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>grafana</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT ON llmtrail.*</query>
      </grants>
    </grafana>
  </users>
</clickhouse>
"
