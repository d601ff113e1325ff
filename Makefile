# Everything is made inside $(VENV); nothing outside this folder is touched.
#
#   make                            what there is
#   make test PYTHON=python3.13 VENV=.venv-3.13
#   make unit ARGS="-k fence -x"    arguments for pytest
#   make unit JOBS=0                one test at a time, in one process: for a debugger

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
RIVALS ?= .venv-rivals
ARGS ?=
# Most tests wait: for processes that start and die, for leases that run out.
JOBS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 2) + 2)))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
LABEXT := $(VENV)/share/jupyter/labextensions/taskflow-lab
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Tests start hundreds of processes, and each would compile the package anew where this is set.
export PYTHONDONTWRITEBYTECODE :=

# The first Python ≥ 3.11 that can make an environment, 3.11 before others.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 /usr/bin/python3; do \
	$$p -c 'import sys, venv, ensurepip, sqlite3; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)

help:  ## Show this list
	@echo "make <target>, one of:"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ── the two commands ─────────────────────────────────────────────────────────────────

demo: $(VENV)/.package  ## Install into .venv and take a census of the standard library
	@$(BIN)/python examples/stdlib_census.py

test: lint types floors tests engines  ## Check everything: lint, types, floors, tests (what CI runs)

# ── the parts of them ────────────────────────────────────────────────────────────────

setup: $(VENV)/.tools  ## Make .venv with the package (editable) and all tools

lab: setup  ## Build the panel of JupyterLab (needs node ≥ 20.19) and put it into .venv
	@$(BIN)/python hatch_build.py
	@rm -rf $(LABEXT) && mkdir -p $(dir $(LABEXT)) && cp -r jupyter_ext/labextension $(LABEXT)

pages: setup  ## Write docs/settings.md and docs/coming-from-celery.md anew, from what is here
	@$(BIN)/python docs/settings_page.py
	@$(BIN)/python docs/celery_page.py

fmt: setup  ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

lint: setup  ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup  ## Check types, strictly
	@$(BIN)/mypy

floors: setup  ## Check that imports only go down (ARCHITECTURE.md)
	@$(BIN)/lint-imports --no-logo

tests: setup  ## Run all tests but those of engines, without lint and types
	@$(MAKE) --silent lab || echo "the tests in a browser are skipped without the panel, and fail in CI"
	@$(PYTEST) --ignore=tests/engines $(ARGS)

engines: setup  ## Run calls on real clusters of Dask, Ray and Celery; each file of tests has clusters of its own
	@$(BIN)/python -m pytest -n 3 --dist loadfile tests/engines $(ARGS)

unit: setup  ## Run the quick tests: rules, values, architecture
	@$(PYTEST) tests/unit tests/architecture $(ARGS)

contract: setup  ## Run the contract suites over every store and pool
	@$(PYTEST) tests/contract $(ARGS)

crash: setup  ## Kill processes at every named fault point
	@$(PYTEST) tests/crash $(ARGS)

chaos: setup  ## Kill workers, servers and connections under 40,000 calls (ARGS="--kind redis")
	@$(BIN)/python -m tests.chaos $(ARGS)

acceptance: setup  ## Run the public API from end to end
	@$(PYTEST) tests/acceptance $(ARGS)

notebooks: setup  ## Run the example notebooks, and write down what they say (ARGS="notebooks/01-quickstart.ipynb")
	@$(BIN)/python -m tests.notebooks.execute $(ARGS)

binder: setup  ## Go the steps of Binder in a clean clone, and run a notebook there; needs no Docker
	@$(BIN)/python -m tests.binder.rehearsal

mutation: setup  ## Change the rules in many small ways, and see that the tests notice (ARGS="--sample 100")
	@$(BIN)/python tests/model/mutate.py $(ARGS)

bench: setup $(RIVALS)/.made  ## Measure beside others, write benchmarks/RESULTS.md (ARGS="--subjects taskflow --cases map")
	@$(BIN)/python -m benchmarks.run --rivals $(RIVALS) $(ARGS)

bench-quick: setup  ## Say what has become faster or slower since benchmarks/RESULTS.md, in two minutes
	@$(BIN)/python -m benchmarks.run --quick $(ARGS)

bench-redis: setup $(RIVALS)/.made  ## Measure on Redis beside other queues, write benchmarks/RESULTS-redis.md
	@$(BIN)/python -m benchmarks.run --suite redis --rivals $(RIVALS) $(ARGS)

bench-growth: setup $(VENV)/.plots  ## Draw how the cost grows with items, nodes, workers and bytes (docs/growth)
	@$(BIN)/python -m benchmarks.growth $(ARGS)

clean:  ## Remove environments, caches and build output
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help demo test setup lab pages fmt lint types floors tests unit contract crash chaos acceptance notebooks binder mutation bench bench-quick bench-redis bench-growth clean

# ── stamps: a second run does none of this ───────────────────────────────────────────

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python ≥ 3.11 with the venv module is needed. Debian and Ubuntu:" \
		"apt install python3 python3-venv"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# One by one: a rival that cannot be installed costs its own column only, and the table says so.
$(VENV)/.plots: $(VENV)/.package
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install "matplotlib>=3.8"
	@touch $@

$(RIVALS)/.made: benchmarks/rivals.txt
	@echo "installing the rivals into $(RIVALS)"
	@$(PYTHON) -m venv --clear $(RIVALS)
	@sed 's/ *#.*//; /^$$/d' $< | while read -r rival; do \
		$(RIVALS)/bin/python -m pip --quiet --disable-pip-version-check install "$$rival" \
		|| echo "$$rival cannot be installed here, and is left out"; done
	@touch $@

$(VENV)/.package: $(VENV)/.made pyproject.toml
	@echo "installing the package"
	@TASKFLOW_LABEXT=skip $(PIP) install --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.made pyproject.toml
	@echo "installing the package and its tools"
	@TASKFLOW_LABEXT=skip $(PIP) install --editable ".[test,dev]"
	@touch $@ $(VENV)/.package
