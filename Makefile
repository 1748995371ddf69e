# Everything a fresh machine needs: Python 3.11 or newer and make. `uv` is used when it is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHARED := ../shared

.PHONY: setup demo test check test-faults test-nightly test-slow test-browser test-gpu test-network docs clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv venv -q --allow-existing $(VENV) && uv pip install -q -p $(BIN)/python -r requirements.lock && \
		uv pip install -q -p $(BIN)/python --no-deps -e .; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock && \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

demo: setup
	@$(BIN)/finewright demo

test: setup
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/pyrefly check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: test

test-slow: setup
	$(BIN)/python -m pytest -m slow

test-faults: setup
	$(BIN)/python -m pytest -m faults

test-nightly: setup
	$(BIN)/python -m pytest -m "faults or nightly"

test-gpu: setup
	$(BIN)/python -m pytest -m gpu

test-browser: setup
	FINEWRIGHT_BROWSER=required $(BIN)/python -m pytest -m browser

test-network: setup
	$(BIN)/python -m pytest -m network

docs: setup
	$(BIN)/python scripts/build_reference.py
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .hypothesis
