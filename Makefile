# Every target works as the first command on a fresh machine: it makes .venv and installs there what it needs.

# The interpreter that makes .venv: the first of these that TensorFlow has wheels for.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
WORKERS ?= 2
PYTEST_FLAGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --quiet
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
export TF_CPP_MIN_LOG_LEVEL ?= 3
unexport PYTHONDONTWRITEBYTECODE  # else each test process compiles all tests anew: 4 s

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow test-oldest test-nightly check docs format bench dist lock

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo  ## pretrain on digits, look at it, probe it, export it: some minutes
	$(BIN)/keras-mae demo --output=runs/demo --overwrite

test: .venv/.dev  ## every test but the slow ones
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

test-fast: .venv/.dev  ## the quick tests, for the loop of editing and testing
	$(PYTEST) -m "not slow and not medium" $(PYTEST_FLAGS)

test-slow: .venv/.dev  ## the tests that take minutes each
	$(PYTEST) -m slow $(PYTEST_FLAGS) || [ $$? -eq 5 ]  # 5: there is none

test-oldest: .venv/.dev  ## the quick tests with the oldest TensorFlow that is supported
	@WORKERS=$(WORKERS) .ci/oldest $(PYTEST_FLAGS)

test-nightly: .venv/.dev  ## quick tests with the newest Keras, a nightly build: a report, which fails nothing
	@.ci/nightly

# mypy reads the layout that a wheel has: .build/typing/keras_mae with trainers and export inside.
check: .venv/.dev  ## formatting, lint, spelling, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	@rm -rf .build/typing && mkdir -p .build/typing/keras_mae
	@ln -s $(CURDIR)/keras_mae/* $(CURDIR)/trainers $(CURDIR)/export .build/typing/keras_mae/
	cd .build/typing && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p keras_mae

docs: .venv/.docs  ## the documentation site, in .build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "wrote .build/site/index.html; with its search: $(BIN)/python -m http.server --directory .build/site"

format: .venv/.dev  ## put right what `make check` says about formatting and the order of imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev  ## timings against the stored baseline
	$(BIN)/python -m benchmarks

dist: | $(BIN)/python  ## the files of a release, a wheel and an sdist, in dist/
	$(PIP) install build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# All extras but `tpu`, which needs an older TensorFlow.
LOCKED := --extra dev --extra torch
lock: .venv/.dev  ## write requirements_lock.txt (for Bazel) anew
	$(PIP) install uv
	$(BIN)/uv pip compile pyproject.toml $(LOCKED) --universal --python-version 3.11 --quiet --output-file requirements_lock.txt

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

# A stamp for each set of extras, so that the demo waits for TensorFlow only and not for PyTorch.
.venv/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing TensorFlow and the demo's data into .venv, once; this takes some minutes ..."
	@$(PIP) install -e ".[demo]"
	@touch $@

.venv/.docs: pyproject.toml | $(BIN)/python
	@echo "Installing what builds the site into .venv, once; this takes some minutes ..."
	@$(PIP) install -e ".[docs]"
	@touch $@

.venv/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing everything for development into .venv, once; this takes some minutes ..."
	@$(PIP) install -e ".[dev]"
	@touch .venv/.demo .venv/.docs $@
