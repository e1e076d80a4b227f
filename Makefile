# The commands a person types. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKLOAD ?= chat-medium
ARGS ?=
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help optimize test test-browser test-wheel check format bench clean install
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 13)))' \
		|| { echo "rooftune needs Python 3.10 to 3.13; choose one with: make PYTHON=python3.11 ..." >&2; exit 2; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/pip pyproject.toml constraints.txt
	@echo "installing rooftune (about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing the test dependencies"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,test]'
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed-test
	@echo "installing linters and type checkers"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,test,check]'
	@touch $@

install: $(VENV)/.installed ## install rooftune into .venv

optimize: $(VENV)/.installed ## find the best configuration for WORKLOAD (default chat-medium on a simulated T4)
	@$(BIN)/rooftune optimize $(WORKLOAD) $(ARGS)

# Branch coverage of the domain is measured when all tests run, so not when ARGS chooses some of them. It costs time:
# `make test COVERAGE=` leaves it out. `make test FAST=1` leaves out the tests that are marked slow; the coverage is the same.
COVERAGE := $(if $(ARGS),,--cov --cov-report=term)

test: $(VENV)/.installed-test ## run the tests and print their coverage (no GPU, no vLLM, no browser)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not real_vllm and not browser$(if $(FAST), and not slow)" $(COVERAGE) $(ARGS)

test-wheel: $(VENV)/.installed ## build the wheel, install it outside of the checkout and tune a workload with it
	@.ci/test-wheel

$(VENV)/.installed-browser: $(VENV)/.installed-test
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		{ echo "test-browser needs Chromium; on Debian and Ubuntu: sudo apt-get install chromium" >&2; exit 2; }
	@echo "installing the browser driver"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,test,browser,docs]'
	@touch $@

test-browser: $(VENV)/.installed-browser ## check the Prefect UI and the documentation in headless Chromium (needs Chromium)
	@$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

check: $(VENV)/.installed-check ## lint, formatting, types, layers of imports, circles, sizes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/structure

format: $(VENV)/.installed-check ## format the code and fix what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.installed-test ## print the tables of docs/benchmarks.md (about ten minutes)
	$(BIN)/python -m benchmarks.simulator
	$(BIN)/python -m benchmarks.fidelity
	$(BIN)/python -m benchmarks.validity
	$(BIN)/python -m benchmarks.loadgen

clean: ## remove caches and build outputs (runs in artifacts/ stay)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

-include make/*.mk
