# Every target sets up what it needs in .venv; a second run reinstalls nothing.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test soak check format clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: .venv/.runtime  ## upscale the bundled clip by 4 and say where the result is
	$(BIN)/vidsr upscale samples/sintel.mp4 --scale 4 -o demo/

test: .venv/.dev  ## the whole test suite, under ten minutes on two cores
	$(BIN)/python -m pytest

soak: .venv/.dev  ## the long tests
	$(BIN)/python -m pytest -m soak

check: .venv/.dev  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev  ## put every file into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and everything that was built
	rm -rf .venv demo dist build .mypy_cache .ruff_cache .pytest_cache

.venv/.pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vidsr needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) install -q --upgrade 'pip>=25.1'
	touch $@

.venv/.runtime: .venv/.pip pyproject.toml
	$(PIP) install -q -e '.[cpu]'
	touch $@

.venv/.dev: .venv/.runtime
	$(PIP) install -q --group dev --group train
	touch $@
