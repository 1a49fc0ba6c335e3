# Everything from nothing but python3 and a network: environments are made in .venv and .build.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
# Handed on to what runs: make demo ARGS="--seed 7 --keep", make test ARGS="-k fault_server"
ARGS ?=
# How many tests run at once: they mostly wait. With ARGS="-s" or a debugger: make test JOBS=0
JOBS ?= 4

# $(1) is what to install. uv where there is one, else the standard library's venv with a pip that knows --group.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up .venv, once"
	@if uv --version >/dev/null 2>&1; then \
		[ -x $(BIN)/python ] || uv venv -q --python "$$(command -v $(PYTHON))" .venv; \
		uv pip install -q --python $(BIN)/python $(1); \
	else \
		[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear .venv \
			|| { echo "python3 -m venv does not work here; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
		$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'; \
		$(BIN)/python -m pip install -q $(1); \
	fi
	@touch $@
endef

.PHONY: help
help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/.demo: pyproject.toml
	$(call install,-e '.[otlp]' --group demo)

.venv/.dev: pyproject.toml
	$(call install,-e '.[otlp]' --group dev)
	@touch .venv/.demo

.PHONY: setup
setup: .venv/.dev ## Make .venv with everything that tests need

.PHONY: demo
demo: .venv/.demo ## Break streams in every way and compare what is reported (ARGS="--keep")
	@$(BIN)/python -m demo $(ARGS)

.PHONY: test
test: setup lint ## Lint, types and tests, as CI does
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --max-worker-restart 0 $(ARGS)

.PHONY: test-thorough
test-thorough: export THOROUGH = true
test-thorough: test ## The same with the long form of each test that has a short one: 40 minutes

.PHONY: lint
lint: setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/mypy
	@# What the dashboards are made with is for 3.11, whose enumerations an older target does not know.
	! $(BIN)/python -c 'import grafana_foundation_sdk' 2>/dev/null || $(BIN)/mypy --python-version 3.11 dashboards

# What is not a Python package and has tests of its own, which are skipped where it is missing. CI wants all of it.
.PHONY: binaries
binaries: ## Install prometheus, a browser and the like for tests that need them: with apt-get, as root
	@missing() { \
		command -v promtool >/dev/null && command -v prometheus >/dev/null || echo prometheus; \
		command -v amtool >/dev/null || echo prometheus-alertmanager; \
		command -v node >/dev/null || echo nodejs; \
		command -v npm >/dev/null || echo npm; \
		command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo chromium; \
		command -v chromedriver >/dev/null || echo chromium-driver; \
		command -v valgrind >/dev/null || echo valgrind; \
	}; \
	if [ -n "$$(missing)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Debian packages:" $$(missing); \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $$(missing) >/dev/null || true; \
	fi; \
	if [ -n "$$(missing)" ]; then \
		echo "not here, Debian packages:" $$(missing) >&2; \
		if [ "$${CI:-}" = true ]; then exit 1; fi; \
		echo "their tests are skipped"; \
	fi
	@tests/newer_prometheus.sh "$(CURDIR)/.build/prometheus-3"

.PHONY: test-versions
test-versions: setup ## The tests of the SDK side on every supported major of openai, in environments of their own
	$(BIN)/python -m bench.versions $(ARGS)

.PHONY: test-pythons
test-pythons: setup ## The whole suite on Python 3.10 to 3.14, with the newest and the oldest packages: hours (ARGS="--short")
	$(BIN)/python -m bench.pythons $(ARGS)

.PHONY: surfaces
surfaces: setup ## Every surface by every fault, injected and reported, per version; writes docs/surfaces.md
	$(BIN)/python -m bench.surfaces $(ARGS)

.PHONY: sdk-suite
sdk-suite: setup ## The SDK's own tests, bare and observed
	$(BIN)/python -m bench.sdk_suite.run $(ARGS)

# The three tables of docs/compatibility.md; each is a script that takes --only.
.PHONY: apps
apps: setup ## Other people's applications, frameworks' retries and other instrumentations, in environments of their own: 40 minutes
	$(BIN)/python -m bench.apps_real.run --markdown docs/compatibility.md
	$(BIN)/python -m bench.apps_real.retries --markdown docs/compatibility.md
	$(BIN)/python -m bench.coexistence.run --markdown docs/compatibility.md

.PHONY: bench
bench: setup ## Measure; writes bench/results.md (ARGS="--peers")
	$(BIN)/python -m bench $(ARGS)

.PHONY: looking
looking: setup ## What scrapes and /healthz cost with many processes; writes bench/looking.md (ARGS="--quick")
	$(BIN)/python -m bench.looking $(ARGS)

.PHONY: outage
outage: setup ## What an outage costs, with up to 5,000 tasks that ask again; writes bench/outage.md (ARGS="--quick")
	$(BIN)/python -m bench.outage $(ARGS)

.PHONY: instructions
instructions: setup ## Count instructions per chunk and stream, beside those on record (ARGS="--write", ARGS="--top 20")
	$(BIN)/python -m bench.instructions $(ARGS)

.PHONY: backtest
backtest: setup ## Replay simulated weeks with known incidents through the alerts (ARGS="--sizes small")
	$(BIN)/python -m alerts.backtest $(ARGS)

.PHONY: docs
docs: setup ## The generated tables of docs/, and the picture of the README
	$(BIN)/python docs/generate.py
	$(BIN)/python -m demo --svg docs/demo.svg

.PHONY: dist
dist: setup ## The wheel and the source distribution in dist/, as an index would check them
	rm -rf dist
	$(BIN)/uv build -q --out-dir dist
	$(BIN)/uv tool run -q twine check --strict dist/*

.PHONY: clean
clean: ## Remove everything that was made
	rm -rf .venv .build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
