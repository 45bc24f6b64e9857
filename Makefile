# Every target describes itself: `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
STAMP := $(VENV)/.installed
# A file of one-minute candles to replay in the demo instead of the simulated day, and what it is of (else its name says).
DATA ?=
SYMBOL ?=
# The notebook that `make lab` opens: a copy that is yours, so that the demo goes on with the course's.
MINE := mine/quickstart.ipynb
# Every module in benchmarks/ that can be run.
BENCHMARKS := $(filter-out report event_peers,$(patsubst benchmarks/%.py,%,$(shell grep -l __main__ benchmarks/*.py)))
# Tests of sessions mostly wait: two files of them run at a time, in the order given (not by their number of tests), in which no
# long one comes last. A machine that stands still for seconds can break what waits for them: what failed is run once more, by
# itself; what fails twice has failed.
SESSIONS := tests/browser tests/integration --ignore=tests/browser/test_desk_drill.py
# But these count lost orders and measure how soon a kill arrives: alone, and once.
ALONE := tests/chaos tests/browser/test_desk_drill.py

.PHONY: help setup lab demo test check bench bench-quick soak lock clean

help: ## Show what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv from the hashed lock, install TradeAlgo, its kernels and its JupyterLab extension

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v < (3, 15); print(f"TradeAlgo needs Python 3.11 to 3.14, {sys.executable} is {v.major}.{v.minor}: run make PYTHON=python3.12 (or another)") if not ok else None; sys.exit(not ok)'
ifdef UV
	@test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV)
	@echo "installing from requirements.lock with uv …"
	uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing from requirements.lock with pip (a minute or two; uv would take seconds) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $(STAMP)

demo: setup ## The main job: backtest, paper session, kill, parity; report in runs/<time>/ (DATA=infy.csv replays a file)
	@$(BIN)/tradealgo demo $(if $(DATA),--data "$(DATA)") $(if $(SYMBOL),--symbol "$(SYMBOL)")

lab: setup ## JupyterLab with the TradeAlgo kernels, opening your copy of the quickstart
	@test -e $(MINE) || { mkdir -p $(dir $(MINE)); cp notebooks/01_quickstart.ipynb $(MINE); }
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/$(MINE) $(if $(filter 0,$(shell id -u)),--allow-root)

test: setup ## All tests, the notebooks included
	$(BIN)/python -m pytest -n auto --dist worksteal tests/unit tests/property tests/parity tests/conformance
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(SESSIONS) || { test $$? = 1 && echo "once more, by itself:" \
		&& $(BIN)/python -m pytest -x --last-failed --last-failed-no-failures none $(SESSIONS); }
	$(BIN)/python -m pytest $(ALONE)
	@export TRADEALGO_HOME="$$(mktemp -d)"; \
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=300 notebooks --ignore=notebooks/production -p no:cacheprovider; status=$$?; \
	$(BIN)/tradealgo stop --all >/dev/null 2>&1; rm -rf "$$TRADEALGO_HOME"; exit $$status

check: setup ## Lint, formatting, types, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tradealgo
	@find notebooks -name '*.ipynb' -not -path '*/.*' -print0 | xargs -0 $(BIN)/nbstripout --verify

bench: setup ## Every benchmark against its peers, in full
	@for b in $(BENCHMARKS); do echo "== $$b"; $(BIN)/python -m benchmarks.$$b --json || exit 1; done

bench-quick: setup ## Every benchmark, short
	@for b in $(BENCHMARKS); do echo "== $$b"; $(BIN)/python -m benchmarks.$$b --json --quick || exit 1; done

soak: setup ## The long property and chaos runs, and a day of broken sockets (hours)
	TRADEALGO_SOAK=1 $(BIN)/python -m pytest tests/property tests/chaos --timeout=0
	TRADEALGO_SOAK_MINUTES=375 $(BIN)/python -m pytest tests/integration/test_feed_soak.py -s

lock: ## Resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet -o requirements.lock

clean: ## Remove the virtual environment, caches and runs
	rm -rf $(VENV) runs artefacts .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
