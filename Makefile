# `make train` is all it takes: it makes .venv when there is none, installs the tested versions, and trains.

VENV ?= .venv
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3 python,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
BIN := $(VENV)/bin
READY := $(VENV)/.installed
LEARNING := $(wildcard tests/test_*learning.py)

# Where bubblewrap cannot build walls, what is run here by us runs without them; agentgym itself must be asked to.
export AGENTGYM_ALLOW_WEAK ?= $(shell bwrap --unshare-pid --unshare-net --ro-bind / / true 2>/dev/null || echo 1)

.PHONY: help install train test test-slow lint bench
.DEFAULT_GOAL := help

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'

install: $(READY)  ## make .venv and install agentgym into it, with the versions of constraints.txt

train: $(READY)  ## train the built-in policy on env=retool; ARGS="seed=1" adds settings
	$(BIN)/agentgym train env=retool $(ARGS)

test: $(READY)  ## run the tests, a file on each processor; ARGS="-k fork" picks some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow" $(ARGS)

test-slow: $(READY)  ## run the tests that take minutes: those that train side by side, then the others alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m slow $(LEARNING) $(ARGS)
	$(BIN)/python -m pytest -m slow $(LEARNING:%=--ignore=%) $(ARGS)

lint: $(READY)  ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## time the engine against plain transformers; ARGS="--json out.json"
	$(BIN)/python benchmarks/engine.py $(ARGS)

# torch has its own line, so that the build which is wanted (CPU, CUDA) can be put there before the rest asks for it.
$(READY): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
		"agentgym needs Python 3.11 or newer (tried: $(or $(PYTHON),every python on the PATH))." \
		"Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@
