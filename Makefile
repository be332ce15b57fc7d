# Foldline's tasks. Each makes the environment it needs, from a hash-pinned lock, with Python >= 3.11 and nothing else.
# uv is used where it is on PATH. PYTHON=... chooses the interpreter, ARGS=... is handed to the task's program.

.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

PYTHON ?=
ARGS ?=
UPGRADE ?=
UV_VERSION := 0.13.8

VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
MAKE_ENVIRONMENT = python=$$(PYTHON="$(PYTHON)" tools/find-python) && "$$python" tools/environment.py

# An environment whose interpreter is gone (a dangling link) is not ready, whatever its stamp says.
$(foreach venv,$(VENV) $(BENCH_VENV),$(shell test -x $(venv)/bin/python || rm -f $(venv)/.ready))

# A named interpreter may differ from the one the environment was made from; environment.py compares.
ifneq ($(strip $(PYTHON)),)
ANEW := FORCE
endif

.PHONY: help demo test check audit bench test-all lock clean FORCE

help: ## Show these tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

$(VENV)/.ready: lock/dev.txt pyproject.toml tools/environment.py $(ANEW)
	@$(MAKE_ENVIRONMENT) $(VENV) lock/dev.txt

$(BENCH_VENV)/.ready: lock/bench.txt pyproject.toml tools/environment.py $(ANEW)
	@$(MAKE_ENVIRONMENT) $(BENCH_VENV) lock/bench.txt

demo: $(VENV)/.ready ## Open the demo shop in a browser
	@$(BIN)/foldline demo $(ARGS)

test: $(VENV)/.ready ## Run every test (ARGS="-k name" for some)
	@$(BIN)/python -m tools.ensure_browser
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.ready ## Lint, format, types, layers, security, docstrings, documented code
	@echo "ruff check" && $(BIN)/ruff check --quiet
	@echo "ruff format" && $(BIN)/ruff format --check --quiet || { echo "run: $(BIN)/ruff format"; exit 1; }
	@echo "mypy" && $(BIN)/mypy --no-error-summary
	@echo "import-linter" && $(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@echo "bandit" && $(BIN)/bandit -q -r src -c pyproject.toml
	@echo "lock files" && $(BIN)/python -m tools.check_locks
	@echo "docstrings and documented code" && $(BIN)/python -m pytest -q tests/docs

audit: $(VENV)/.ready ## Look up known vulnerabilities of what is locked (needs the network)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip -r lock/dev.txt

bench: $(BENCH_VENV)/.ready ## Measure against the raw limits and the peers
	@$(BENCH_VENV)/bin/python bench/run.py $(ARGS)

test-all: ## Run every test on every supported Python found
	@python=$$(PYTHON="$(PYTHON)" tools/find-python) && "$$python" tools/test_all.py $(ARGS)

# Universal: one file for every platform and Python. UPGRADE=--upgrade moves the pins; without it they stay.
COMPILE = pip compile pyproject.toml --quiet --no-config --all-extras --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links $(UPGRADE)

lock: ## Pin the dependencies anew (UPGRADE=--upgrade for newer versions)
	@uv=$$(command -v uv) || { \
	  python=$$(PYTHON="$(PYTHON)" tools/find-python) && "$$python" -m venv .venv-lock \
	  && .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) \
	  && uv=.venv-lock/bin/uv; } && \
	"$$uv" $(COMPILE) --group dev --output-file lock/dev.txt && \
	"$$uv" $(COMPILE) --group bench --constraint lock/dev.txt --output-file lock/bench.txt
	@echo "lock/dev.txt and lock/bench.txt written"

clean: ## Remove environments, caches and build output
	@rm -rf .venv .venv-* .venv.lock build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .ci/out
	@find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
