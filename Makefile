# make test   sets up .venv and runs lint, contracts of imports, types and tests
# make docs   builds the site in output/site
# make demo   sets up .venv and runs the demo (make demo QUICK=1 for a minute-long smoke run)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUTPUT ?= output/demo

.PHONY: setup lint test test-checkouts demo docs clean

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

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/mypy

test: setup lint
	$(BIN)/python -m pytest --numprocesses 2

# PYSLOWFAST_ROOTS=/path/to/SlowFast:/path/to/fork
test-checkouts: setup
	PYSLOWFAST_ROOTS="$(PYSLOWFAST_ROOTS)" $(BIN)/python -m pytest

demo: setup
	$(BIN)/slowfast-ac demo --output $(OUTPUT) $(if $(QUICK),--quick)

docs: setup
	$(BIN)/python docs/stage.py output/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs output/docs output/site

clean:
	rm -rf $(VENV) output
