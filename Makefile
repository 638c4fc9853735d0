# Two commands matter: `make demo` shows it work, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/otel_gen
STAMP := $(VENV)/.ready
CONSTRAINTS := constraints.txt

.PHONY: demo test test-all lint bench mutants format clean

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[all]' --group dev
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/otel-gen demo

# The demo needs no test tools: what a newcomer installs is what a user gets.
$(VENV)/.demo: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[all]'
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; \
	then set -x; $(BIN)/python -m grafana.generate --check; \
	else echo "the dashboards are not checked: grafana-foundation-sdk needs Python 3.11"; fi

# Under CI the servers are installed first (apt as root, Go modules; cached outside the tree); on a user's
# machine a missing server is a visible skip.
test: lint
	$(if $(CI),$(BIN)/python -m tests.stack.servers install)
	$(BIN)/python -m pytest -m "not slow"

test-all: lint
	$(BIN)/python -m tests.stack.servers install --all
	$(BIN)/python -m pytest
	$(BIN)/python -m tests.mutants

# Each promise is broken on purpose in a copy, and its tests must notice.
mutants: $(STAMP)
	$(BIN)/python -m tests.mutants

# An environment of its own: the OTLP JSON file exporter pins the SDK.
$(CACHE)/bench/.ready: pyproject.toml
	$(PYTHON) -m venv $(CACHE)/bench
	$(CACHE)/bench/bin/python -m pip install -q --upgrade "pip>=25.1"
	$(CACHE)/bench/bin/python -m pip install -q 'opentelemetry-exporter-otlp-json-file==0.66b1' -e '.[inspect]'
	@touch $@

bench: $(CACHE)/bench/.ready
	PYTHONPATH=. $(CACHE)/bench/bin/python -m tests.bench --write

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-data .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
