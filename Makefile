# Everything a person or a machine does with this project. `make` lists it.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install system demo demo-gslb test check bench soak docs lock image

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

system: ## Debian's packages that are missing (HAProxy; for tests also PostgreSQL)
	@scripts/install-system $(ARGS)

$(BIN)/caryatid: requirements.lock pyproject.toml
	@scripts/install-python
	@touch $@

install: $(BIN)/caryatid ## the Python environment in .venv, from the lock file

demo: ## a load balancer with real traffic, on this machine, in one command
	@scripts/install-system --demo
	@$(MAKE) --no-print-directory install
	@$(BIN)/python examples/demo.py $(ARGS)

demo-gslb: ## a name for two regions, of which one is killed, on this machine
	@scripts/install-system --demo-gslb
	@$(MAKE) --no-print-directory install
	@$(BIN)/python examples/demo_gslb.py $(ARGS)

check: install ## style, types, layers: seconds
	@$(BIN)/ruff check src tests bench docs examples ganeti
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

test: ## everything, from nothing: installs what is missing, checks, tests
	@scripts/install-system
	@$(MAKE) --no-print-directory check
	@scripts/test $(ARGS)

bench: install ## measures, and writes a Markdown table to bench/results/
	@$(BIN)/python -m bench $(ARGS)

soak: install ## kills processes at random under traffic: make soak ARGS='--kills 200'
	@$(BIN)/python -m bench.soak $(ARGS)

image: install ## the image of amphorae's machines on Ganeti; ARGS=--check makes it twice and compares
	@ganeti/image/build $(ARGS)

docs: install ## the reference pages, from the models
	@$(BIN)/python docs/generate.py $(ARGS)

lock: ## resolve the dependencies anew
	@uv pip compile -q pyproject.toml --group dev --group clients --universal --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate -o requirements.lock
	@for lock in tests/programs/*.lock; do echo "$$(basename $$lock .lock)" | uv pip compile -q - --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o $$lock; done
