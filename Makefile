# One verb per habit. `make book` and `make test` work as the very first command on a machine that has only
# Python 3.11 or later, git and make: each sets up .venv before it starts.
SHELL  := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Two torch programs on the same cores slow each other down manyfold, so parallel tests take one thread each.
WORKERS ?= 2
COLUMNS := 80
# JupyterLab draws whole notebooks (else a reader's run misses what is off the screen) and shows pages as text; a kernel
# knows `glued` from its start, so that a number that is not measured yet is a dash.
LAB_SETTINGS := JUPYTER_CONFIG_PATH="$(CURDIR)/book/lab$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
  PYTHONSTARTUP="$(CURDIR)/book/lab/startup.py"

.PHONY: help book test lab serve fetch doctor format lint types bench gpu results results-check assignments clean
.DEFAULT_GOAL := help

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "llmrec needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) -V). Name another: make book PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $@

book: $(READY)  ## set up, execute every chapter, build the site (FRESH=1 forgets earlier runs)
	$(BIN)/python -m book.tools.site build $(if $(FRESH),--fresh)

test: $(READY) lint types  ## set up and run every test (the site is built clean and read in a browser)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not site"
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m site

lab: $(READY)  ## open the notebooks in JupyterLab
	$(LAB_SETTINGS) $(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

serve: $(READY)  ## look at the built site
	$(BIN)/python -m book.tools.site serve

fetch: $(READY)  ## download data and models now, to be offline afterwards
	$(BIN)/llmrec fetch

doctor: $(READY)  ## look at this machine and say how to put right what is missing
	$(BIN)/python -m book.tools.doctor

format: $(READY)  ## format code and notebooks
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet llmrec_lite tests book
	$(BIN)/ruff format --quiet --line-length $(COLUMNS) notebooks
	$(BIN)/nbstripout notebooks/*.ipynb notebooks/assignments/*.ipynb
	$(BIN)/python -m book.tools.inline notebooks/*.ipynb notebooks/assignments/*.ipynb

lint: $(READY)  ## style, and the anatomy of the notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet llmrec_lite tests book
	$(BIN)/ruff format --check --quiet --line-length $(COLUMNS) notebooks
	$(BIN)/python -m book.tools.checks

types: $(READY)  ## static types
	$(BIN)/mypy

bench: $(READY)  ## speed beside the named libraries, as ratios
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python tests/benchmarks/run.py

results: $(READY)  ## run every long experiment anew (about ten hours; gpu_speed and few_shot_gpu need a graphics card)
	$(BIN)/python -m book.experiments run --all

results-check: $(READY)  ## compute a few rows of every committed result again, and name the stale ones
	$(BIN)/python -m book.experiments check --all

gpu: $(READY)  ## the tests that need CUDA, and how much faster training is there (writes book/results/gpu_speed.json)
	$(BIN)/python -m pytest -m gpu -rs
	$(BIN)/python -m book.experiments run gpu_speed

assignments: $(READY)  ## the student versions of the assignments, without solutions, in _build/assignments
	$(BIN)/python -m book.tools.checks release

clean:  ## remove what was built (the downloads stay in the user's cache)
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
