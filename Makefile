# make help lists the targets. Another interpreter: make train PYTHON=python3.12. More options: make train ARGS="scale=gpu".
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# OpenMP threads that wait must sleep: spinning on shared cores is up to 80 times slower.
export OMP_WAIT_POLICY ?= PASSIVE

# Tests on all cores: a process for each, up to four, of one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal --durations=20 --durations-min=15

.DEFAULT_GOAL := help
.PHONY: help setup venv blender-env train train-long test test-slow test-cluster bench-check mutation lint docs notebooks format clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## everything for working on the code: .venv with the tools for tests and lint

venv: $(VENV)/.core ## .venv with what training needs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"one2345 needs Python 3.11 or later, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# The stamps are renewed when the list of dependencies changes; the code itself is installed in place.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): some minutes the first time"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): some minutes the first time"
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/.core $@

# bpy is built for one Python only. Its own environment, since it needs an older numpy.
BLENDER_PYTHON ?= python3.11

blender-env: .venv-blender/.done ## .venv-blender with Blender as a module, for prepare.py render=blender

.venv-blender/.done: requirements-blender.txt
	@$(BLENDER_PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) and f"bpy needs Python 3.11, $(BLENDER_PYTHON) is {v[0]}.{v[1]}: make blender-env BLENDER_PYTHON=python3.11")'
	$(BLENDER_PYTHON) -m venv .venv-blender
	@echo "Installing into .venv-blender: some minutes the first time"
	@.venv-blender/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements-blender.txt
	@touch $@
	@echo "render=blender render.python=.venv-blender/bin/python"

train: $(VENV)/.core ## set up and train, evaluate and report: minutes on two cores, no data needed
	$(BIN)/python train.py experiment=sdf_base $(ARGS)

train-long: $(VENV)/.core ## the same for up to an hour; call it again to go on after an interruption
	$(BIN)/python train.py experiment=sdf_base scale=laptop_long $(ARGS)

test: $(VENV)/.dev ## set up and run the unit and smoke tests
	$(PYTEST) -m "not slow and not gpu and not cluster" $(ARGS)

test-slow: $(VENV)/.dev ## the tests that take longer: commands end to end, fine lattices, interrupted preparation
	$(PYTEST) -m "slow and not gpu and not cluster" $(ARGS)

test-cluster: $(VENV)/.dev ## arrays on a SLURM that the tests start themselves; skips where none is installed
	$(BIN)/python -m pytest -m cluster tests/cluster $(ARGS)

bench-check: $(VENV)/.dev ## has a stage lost more than a quarter of its lead over the measuring stick; some minutes
	$(BIN)/python benchmarks/check.py $(ARGS)

mutation: $(VENV)/.dev ## do the tests notice: breaks lines of a copy and wants the tests to fail; renews docs/mutation.md
	$(BIN)/python tests/mutation/run.py $(ARGS)

lint: $(VENV)/.dev ## style, types, and the direction of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.dev ## the documentation as a site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

notebooks: $(VENV)/.dev ## execute all notebooks; ARGS=--write keeps what they show
	$(BIN)/python notebooks/build.py $(ARGS)

format: $(VENV)/.dev ## put the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, builds and caches; data and runs stay
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +
