# Every target sets up what it needs in .venv; a second run reinstalls nothing.
PYTHON ?= python3
BIN := .venv/bin
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check

# What is compiled is kept, whatever the environment says: a test's processes would compile it again and again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test soak check lint types docs release format clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: .venv/.runtime  ## upscale the bundled clip by 4, compare it with bicubic, and say where both are
	$(BIN)/vidsr upscale samples/sintel.mp4 --scale 4 -o demo/
	$(BIN)/vidsr compare samples/sintel.mp4 --html -o demo/compare

# Three processes of one thread each keep two cores busy: some tests wait. More threads would mostly wait for a core.
test: .venv/.dev  ## the whole test suite, in three processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 10

soak: .venv/.dev  ## the long tests
	$(BIN)/python -m pytest -m soak --durations 10

check: lint types docs  ## format, lint, types, and documents that build

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/.dev
	$(BIN)/mypy

docs: .venv/.dev  ## the documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

release: .venv/.dev  ## `make release VERSION=0.2.0`: check and test, then tag; wheel, sdist, notes and checksums in dist/
	$(BIN)/python scripts/release.py --only-check '$(VERSION)'
	$(MAKE) check test
	$(BIN)/python scripts/release.py '$(VERSION)'

format: .venv/.dev  ## put every file into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and everything that was built
	rm -rf .venv demo site dist build .mypy_cache .ruff_cache .pytest_cache

.venv/.pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vidsr needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	@echo 'Making .venv, once.'
	$(PYTHON) -m venv .venv
	$(PIP) install -q --upgrade 'pip>=25.1'
	touch $@

.venv/.runtime: .venv/.pip pyproject.toml
	@echo 'Installing vidsr into .venv, once: a minute or more, by the network.'
	$(PIP) install -e "$$(command -v nvidia-smi >/dev/null && echo '.[torch]' || echo .)"
	touch $@

# Where no NVIDIA GPU is, torch's build for the CPU: for Linux the package index has the one with gigabytes of CUDA only.
.venv/.dev: .venv/.runtime
	@echo 'Installing PyTorch and what checks and tests need into .venv, once: minutes, by the network.'
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
	  $(PIP) install --retries 1 --timeout 15 --index-url $(TORCH_CPU) 'torch>=2.11,<2.15' || \
	  echo "$(TORCH_CPU) is not reached: torch comes from the package index, with CUDA"; fi
	$(PIP) install -e '.[torch]'
	$(PIP) install --group dev --group train --group gpu
	$(PIP) install -q --no-deps 'spandrel>=0.4' 'einops>=0.8'  # it names torchvision, for networks that the tests do not use
	touch $@
