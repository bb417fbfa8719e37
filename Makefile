# Two commands: `make demo` and `make test`. Each builds .venv first if it is not there, from the lock, through uv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first Python that runs and is new enough (a version manager may offer names that do not run).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
UV_VERSION := 0.13.8
UV := $(shell command -v uv || echo .tools/bin/uv)
RUN := .venv/bin/
STAMP := .venv/.landweave
# One thread a process: on few shared cores a second torch thread costs more than it gives.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export LANDWEAVE_SHARED ?= $(abspath ../shared)

.PHONY: help demo test lint types floors tests evidence benchmarks lock format clean

help: ## what there is to do
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(STAMP) ## synthetic world -> pack -> three trained models -> scores -> map -> report (about 3 minutes)
	$(RUN)landweave demo --out demo

test: $(STAMP) lint types floors tests ## everything that must hold: style, types, import floors, tests

lint: $(STAMP) ## ruff
	$(RUN)ruff format --check .
	$(RUN)ruff check .

types: $(STAMP) ## mypy --strict
	$(RUN)mypy

floors: $(STAMP) ## a room imports only from lower ones
	$(RUN)lint-imports

tests: $(STAMP) ## pytest, two processes
	$(RUN)pytest -n 2 --dist loadfile

evidence: $(STAMP) ## the full claims of an issue: make evidence NAME=spine (resumable; writes evidence/NAME.json)
	$(RUN)python -m evidence.$(subst -,_,$(NAME))
	$(RUN)python -m evidence.show

benchmarks: $(STAMP) ## against other libraries (half an hour; writes benchmarks/*.json and their page)
	$(RUN)python -m benchmarks.losses --json benchmarks/losses.json
	$(RUN)python -m benchmarks.reading --json benchmarks/reading.json
	$(RUN)python -m benchmarks.utae --json benchmarks/utae.json
	$(RUN)python -m benchmarks.show

format: $(STAMP) ## let ruff fix what it can
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

lock: .tools/bin/uv ## resolve pyproject.toml anew; no index address is written
	$(UV) pip compile --universal --python-version 3.11 --extra dev --no-annotate --no-header --no-emit-index-url \
		--upgrade --quiet pyproject.toml -o requirements.lock

clean: ## remove what was built here
	rm -rf .venv .tools demo .pytest_cache .mypy_cache .ruff_cache

.tools/bin/uv:
	@command -v uv >/dev/null && mkdir -p .tools/bin && ln -sf "$$(command -v uv)" .tools/bin/uv || { \
		test -n "$(PYTHON)" || { echo "landweave needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }; \
		"$(PYTHON)" -m venv .tools; \
		.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }

# Compiled now, for where Python may not write bytecode: without it every command compiles 4,600 files of torch and others.
$(STAMP): pyproject.toml requirements.lock | .tools/bin/uv
	$(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --compile-bytecode -r requirements.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps -e .
	@touch $@
