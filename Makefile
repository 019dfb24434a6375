# Everything a person needs, in one word each.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false

export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where it is set, each of the pipeline's programs compiles five thousand modules anew: ten seconds a stage.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup repro report schedule test story lint bench ui lock clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(VENV)/.ready ## make .venv and install the locked packages

$(VENV)/.ready: requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name one: make PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

repro: setup ## run the whole pipeline: data, training, evaluation, pictures, runs in MLflow
	$(BIN)/dvc repro

report: ## open the page of figures and pictures that the pipeline made: reports/index.html
	@test -f reports/index.html || { echo "error: there is no reports/index.html yet; run: make repro" >&2; exit 2; }
	@echo "$(CURDIR)/reports/index.html"
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then $(PYTHON) -m webbrowser "file://$(CURDIR)/reports/index.html"; fi

schedule: setup ## retrain every night, watch what comes in: Prefect on 127.0.0.1, until interrupted
	$(BIN)/python -m pipelines.serve

test: setup ## lint, then all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

story: setup ## the whole story of the registry, with kills and rollback: minutes
	RADSYNTH_WHOLE_STORY=1 $(BIN)/python -m pytest tests/test_story.py

lint: setup ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure speed as ratios against plain versions
	for name in help reports xrays align features cyclegan_step report_gan_step; do $(BIN)/python -m benchmarks.$$name || exit 1; done

ui: setup ## look at the runs in MLflow, on 127.0.0.1
	$(BIN)/radsynth ui

lock: setup ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra test --universal --generate-hashes --no-header --quiet --python-version 3.11 -o requirements.lock

clean: ## remove what running made, except the DVC cache
	rm -rf data/raw data/chest data/brain models metrics plots history reports mlruns/mlflow.db mlruns/artifacts mlruns/published.json mlruns/decisions mlruns/cards checkpoints
