PYTHON ?= python3
WORKDIR ?= runs/phantom
DEMO ?= demo
BIN := .venv/bin

.PHONY: run demo test test-all tpu-check docs lint format

run: .venv/.installed  ## The phantom experiment, end to end; 25 minutes on two cores
	$(BIN)/python main.py --config=configs/phantom.py --workdir=$(WORKDIR)
	@echo "Figures: $(WORKDIR)/explain/figures/    Numbers: $(WORKDIR)/explain/metrics.json"

demo: .venv/.installed  ## Fresh phantom films, explained by the networks of the package; no training
	$(BIN)/python main.py demo --out=$(DEMO)

# Most of a test's time is the compiler's, so it is told to hurry; not so in the whole suite. A file's
# tests share programs, so that each worker gets files that follow each other.
test: .venv/.tested  ## The test suite, but for its slow part
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/.compared  ## All of it
	$(BIN)/python -m pytest -n 2 --dist worksteal

tpu-check: .venv-tpu/.installed  ## Compiles every step for TPU v5e, without one
	.venv-tpu/bin/python -m benchmarks tpu_check

docs: .venv/.documented  ## Pages of docs/ and the package's docstrings, into build/docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "Front page: build/docs/index.html"

lint: .venv/.tested  ## Style, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: .venv/.tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

.venv-tpu/.installed: requirements.txt
	$(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet -r requirements.txt "jax[tpu]"
	@touch $@

.venv/.tested: pyproject.toml .venv/.installed
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@

.venv/.documented: pyproject.toml .venv/.installed
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@

# Without a GPU, PyTorch's build for the processor is enough and a tenth of the size.
.venv/.compared: .venv/.tested
	$(BIN)/python -m pip install --quiet -e ".[torch,notebook]" \
		--extra-index-url https://download.pytorch.org/whl/cpu
	@touch $@
