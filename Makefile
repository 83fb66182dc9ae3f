# Everything runs from .venv, which the first target that needs it builds from requirements.lock.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready
NAMESPACE ?= examples/namespace.yaml
# The quick ones first.
TESTS ?= $(addprefix tests/,unit docs integration endtoend cluster node)

.DEFAULT_GOAL := help
.PHONY: help up down test check format bench bench-operator reference readme lock venv

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

up: $(READY) ## Serve NAMESPACE (examples/namespace.yaml) on this machine, in the background
	@$(BIN)/soma up -f '$(NAMESPACE)' --detach

down: $(READY) ## Stop what `make up` started; the memories stay in .soma/
	@$(BIN)/soma down

test: $(READY) ## Run the tests (three quarters of an hour), or those of TESTS=path
	@$(BIN)/python -m pytest $(TESTS)

check: $(READY) ## Format, lint, types, and the layers of the house
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY) ## Rewrite the code in the house's format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

bench: $(READY) ## Measure HTTP store and recall beside their floors (about 8 minutes)
	@$(BIN)/python -m benchmarks.http

bench-operator: $(READY) ## Measure the operator on a real Kubernetes API (about 12 minutes)
	@PYTHONPATH=tests/support $(BIN)/python -m benchmarks.operator

reference: $(READY) ## Bring crds/ and the generated parts of docs/ up to date
	@$(BIN)/python -m memory_contracts.reference

readme: $(READY) ## Run the README's commands and write down what they print
	@$(BIN)/python tests/support/transcript.py README.md
	@$(BIN)/python tests/support/cluster_transcript.py README.md docs/kubernetes.md docs/deletion.md

lock: $(READY) ## Resolve the dependencies anew into requirements.lock
	@$(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--extra dev --no-emit-package memory-operator --no-annotate --no-header pyproject.toml -o requirements.lock

venv: $(READY) ## Build .venv only

$(READY): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; set PYTHON=/path/to/it' >&2; exit 1; }
	@echo 'building .venv …'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/python -m uv pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)
