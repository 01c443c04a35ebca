# make test       sets up .venv and runs lint, import contracts, types and the fast tests
# make test-all   the same with every test
# make coverage   runs every test and prints which lines none of them reached
# make docs       builds the site in output/site
# make dist       builds and checks the sdist and the wheel in dist
# make demo       sets up .venv and runs the demo (make demo QUICK=1 for a minute-long smoke run)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUTPUT ?= output/demo
# Tests that share a fixture of their file run in one process.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Types are checked while the tests run: that takes one of the cores for half a minute.
BESIDE := $(MAKE) --no-print-directory --jobs 2 types

.PHONY: setup style types lint test test-all fast-tests tests test-checkouts coverage demo docs dist clean

setup: $(VENV)/.ready

# torch and torchvision come first and together, so that pip takes a matching pair. The wheel
# slowfast 1.0 lists detectron2, which PyPI does not have, hence --no-deps.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch torchvision
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps slowfast==1.0
	touch $@

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

lint: style types

test: style
	$(BESIDE) fast-tests

test-all: style
	$(BESIDE) tests

fast-tests: setup
	$(PYTEST) -m "not slow"

tests: setup
	$(PYTEST)

coverage: setup
	$(PYTEST) --cov --cov-report term-missing:skip-covered

# PYSLOWFAST_ROOTS=/path/to/SlowFast:/path/to/fork
test-checkouts: setup
	PYSLOWFAST_ROOTS="$(PYSLOWFAST_ROOTS)" $(BIN)/python -m pytest

demo: setup
	$(BIN)/slowfast-ac demo --output $(OUTPUT) $(if $(QUICK),--quick)

docs: setup
	$(BIN)/python docs/stage.py output/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs output/docs output/site

dist: setup
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) output dist
