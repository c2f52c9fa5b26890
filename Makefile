# The verbs of the house; `make help` lists them. Each sets up what it needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The newest of what may be here; any Python from 3.11 on will do.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
# uv installs the lock; pinned, because a different resolver is a different installation.
UV := uv==0.13.8
# Tools that no code of ours needs run in environments of their own.
CYCLONEDX := cyclonedx-bom==7.5.0
PIP_AUDIT := pip-audit==2.10.1
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.llmtrail-setup
# Where the house's Python stands.
CODE := src services tests bench
ARGS ?=
# Most tests wait for processes that they started, so two at once use what two cores have. Each worker starts a Kafka.
WORKERS ?= 2
CASE ?=
KAFKA ?=
OFFLINE ?=
# What all fuzzers together may take, in seconds.
FUZZ_SECONDS ?= 600

.PHONY: help setup demo test attacks fuzz sbom audit check fmt docs bench

help:  ## list these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with everything in it, llmtrail too
	@echo "$(BIN)/llmtrail is ready"

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "llmtrail needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 2; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP)  ## run llmtrail with real clients and an incident (KAFKA=1: over Kafka; ARGS="--seconds 30 --exit")
	@$(BIN)/llmtrail demo $(if $(KAFKA),--over-kafka) $(ARGS)

test: $(STAMP)  ## run every test that this machine can run (ARGS="-k name", WORKERS=0 for one at a time)
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

attacks: $(STAMP)  ## try every known attack on processes of ours, and print which of them held (they are tests too)
	@$(BIN)/python -m pytest -q tests/attacks $(ARGS)

fuzz: $(STAMP)  ## feed every decoder what it does not expect, for ten minutes in all (FUZZ_SECONDS=, ARGS="-k name")
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -m fuzz tests $(ARGS)

sbom: $(STAMP)  ## write what is installed, and what the image holds, as CycloneDX into build/sbom
	@mkdir -p build/sbom
	@$(BIN)/uvx --quiet --from "$(CYCLONEDX)" cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		-o build/sbom/llmtrail.cdx.json $(BIN)/python
	@$(BIN)/uvx --quiet --from "$(CYCLONEDX)" cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		-o build/sbom/llmtrail-image.cdx.json infra/docker/requirements.lock
	@echo "build/sbom: llmtrail.cdx.json (installed here), llmtrail-image.cdx.json (in the image)"

# It fails with 3 where nobody answered; OFFLINE=1 takes that for an answer.
audit: $(STAMP)  ## ask the Python advisory service about every package of the locks, where the network allows
	@$(BIN)/python tests/audit.py $(BIN)/uvx --quiet --from "$(PIP_AUDIT)" pip-audit \
		|| { code=$$?; [[ -n "$(OFFLINE)" && $$code == 3 ]] || exit $$code; }

check: $(STAMP)  ## format, lint, types, rules of dependency, house rules: under 30 s
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "run 'make fmt'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/mypy --strict $(CODE)
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit/house/test_tidy.py

fmt: $(STAMP)  ## format, and mend what the linter can mend
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

docs: $(STAMP)  ## write the reference pages anew, from the code
	@$(BIN)/python tests/reference_pages.py
	@$(BIN)/python tests/sql_reference.py

bench: $(STAMP)  ## run a bench and append its result to bench/results.jsonl (CASE=name, ARGS=...)
	@test -n "$(CASE)" || { echo "choose one: make bench CASE=name"; \
		find bench -name case.toml -printf '  %h\n' | sed 's|bench/||' | sort; exit 2; }
	@PYTHONPATH=bench $(BIN)/python bench/$(CASE)/run.py $(ARGS)
