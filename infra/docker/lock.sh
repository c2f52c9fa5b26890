#!/usr/bin/env bash
# Make the image's locks anew: the part of requirements.lock that roles need, same versions, same hashes.
# Run it after requirements.lock was made; a test holds the three together.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compile=(.venv/bin/uv pip compile --quiet --no-emit-index-url --no-header --generate-hashes --universal -c requirements.lock)
"${compile[@]}" --extra aggregator --extra grpc --extra apprise --extra gpu pyproject.toml -o infra/docker/requirements.lock
printf 'hatchling\n' | "${compile[@]}" - -o infra/docker/build.lock
