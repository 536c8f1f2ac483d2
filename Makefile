# Two commands on a fresh machine: `make demo` and `make test`. Python ≥ 3.11 and make are enough;
# with node and npm the local chain is real, without them the demo plays a recording.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export CHAINWATCH_CACHE ?= $(CURDIR)/.cache
export CHAINWATCH_SHARED ?= ../shared
PROGRAMS := $(CURDIR)/.cache/programs
export CHAINWATCH_SOLC ?= $(PROGRAMS)/solc/node_modules/solc

.PHONY: help demo test test-all torture everything browser check format lint types contracts portable bench build recording docs site clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       the whole product on a local chain, in under two minutes"
	@echo "make test       what a change usually breaks: about 10 minutes on two cores"
	@echo "make test-all   the rest of the tests, and full sizes: about 50 minutes; CI runs both"
	@echo "make torture    hundreds of kills, an hour of a feed: outside CI; writes docs/development/torture.md"
	@echo "make everything installs what few tests need: Spark, apprise, harlequin, a Solidity compiler, a browser"
	@echo "make check      format, lint, types, import contracts, portable queries, site, tests: what CI runs"
	@echo "make bench      figures against alternatives, one JSON line each"
	@echo "make build      wheel and sdist in dist/"
	@echo "make docs       the generated parts of README.md and docs/"
	@echo "make site       the documentation site in .cache/site"
	@echo "make recording  record the demo's chain anew (needs node and npm)"
	@echo "make clean      remove the environment and caches"

$(VENV)/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (set PYTHON=…)" >&2; exit 2; }
	@echo "installing into $(VENV)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[charts]'
	@touch $@

$(VENV)/made-dev: $(VENV)/made
	@echo "installing the development tools" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/made
	@$(BIN)/chainwatch --home .cache/home demo

SEED ?= $(shell date +%s)
# Together `test` and `test-all` run every test: docs/development/tests.md.
# Many tests wait for a process or a server: one worker more than cores keeps the cores busy.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
# Compiled tests are kept: rewriting their assertions takes six seconds of every process.
PYTEST := PYTHONDONTWRITEBYTECODE= PATH="$(PROGRAMS)/harlequin/bin:$$PATH" $(BIN)/python -m pytest

test: $(VENV)/made-dev
	@$(PYTEST) -n $(WORKERS) -m "not full"

test-all: $(VENV)/made-dev
	@$(PYTEST) -n $(WORKERS) -m "full or sampled" --amounts full

torture: $(VENV)/made-dev
	@CHAINWATCH_CRASH_SEED=$(SEED) $(PYTEST) -n 0 -m sampled --amounts torture --hypothesis-seed=$(SEED)

# Harlequin pins its own click and textual, so it gets an environment of its own.
everything: $(VENV)/made-dev browser
	@echo "installing Spark, apprise, harlequin, a Solidity compiler and a browser" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,spark,alerts]'
	@test -x $(PROGRAMS)/harlequin/bin/harlequin || { $(PYTHON) -m venv $(PROGRAMS)/harlequin && $(PROGRAMS)/harlequin/bin/python -m pip install --quiet --disable-pip-version-check 'harlequin==2.17.0'; }
	@test -d $(CHAINWATCH_SOLC) || ! command -v npm >/dev/null || npm install --silent --no-save --no-package-lock --prefix $(PROGRAMS)/solc solc@0.8.27

# Charts are opened in Chromium. Where it cannot be installed the test of them is skipped.
browser:
	@mkdir -p $(PROGRAMS) && rm -f $(PROGRAMS)/no-browser
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome \
	  || { test "$$(id -u)" = 0 && apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; }; } >/dev/null 2>&1 \
	  || { touch $(PROGRAMS)/no-browser; echo "Chromium is not there and could not be installed (needs root and apt-get): charts are not opened" >&2; }

check: format lint types contracts portable site test

format: $(VENV)/made-dev
	@$(BIN)/ruff format --check .

lint: $(VENV)/made-dev
	@$(BIN)/ruff check .

types: $(VENV)/made-dev
	@$(BIN)/mypy

contracts: $(VENV)/made-dev
	@$(BIN)/lint-imports

portable: $(VENV)/made-dev
	@$(BIN)/python scripts/portable.py

bench: $(VENV)/made-dev
	@$(BIN)/python -m bench

build: $(VENV)/made-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt build
	@$(BIN)/python -m build --outdir dist .

docs: $(VENV)/made-dev
	@$(BIN)/python -m tests.docs

site: $(VENV)/made-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

recording: $(VENV)/made
	@$(BIN)/python -m chainwatch.demo.record

clean:
	rm -rf $(VENV) .cache dist build
