# Everything that a fresh clone needs; `make help` lists it. Options go through ARGS: make train ARGS="seed=1".

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=

# What an interrupted installation leaves half done would be taken for installed.
REPAIR := import pathlib, shutil, sysconfig; \
	[shutil.rmtree(p) for p in pathlib.Path(sysconfig.get_path("purelib")).glob("*.dist-info") if not (p / "RECORD").exists()]

.DEFAULT_GOAL := help
.PHONY: help setup train quick test lint format dashboard gpu-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it (done once, and again when the dependencies change)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing); try: make setup PYTHON=python3.12" >&2; \
		exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(BIN)/python -c '$(REPAIR)'
	@echo "installing into .venv (about 6 GB, some minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[speech,pretrained,sweep,harness,dev]' -c constraints.txt
	@$(BIN)/python -c 'from data.synthesisers.flite import FliteVoices; FliteVoices().installed()' # fetched now, not at run time
	@$(BIN)/python -m tests.chromium # opens pages in tests
	@touch $@

train: setup ## train the default experiment, evaluate it and print its table
	@$(BIN)/python scripts/train.py experiment=easy_vqa $(ARGS)

quick: setup ## a first look: the same model for 200 steps, three minutes on 2 cores with its speech
	@$(BIN)/python scripts/train.py experiment=easy_vqa_quick $(ARGS)

dashboard: setup ## open all runs in a browser
	@$(BIN)/python scripts/dashboard.py $(ARGS)

test: lint ## lint, check types and run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

gpu-check: setup ## check this machine's GPU in less than eight minutes: tests, certificate, speed
	@$(BIN)/python scripts/gpu_check.py $(ARGS)

lint: setup ## lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
