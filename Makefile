PYTHON ?= python3
WORKDIR ?= runs/phantom
BIN := .venv/bin

.PHONY: run test test-all lint format

run: .venv/.installed  ## The phantom experiment, end to end; about 10 minutes on two cores
	$(BIN)/python main.py --config=configs/phantom.py --workdir=$(WORKDIR)
	@echo "Figures: $(WORKDIR)/explain/figures/    Numbers: $(WORKDIR)/explain/metrics.json"

test: .venv/.tested  ## The test suite
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: .venv/.compared  ## The test suite with its slow part
	$(BIN)/python -m pytest -n 2

lint: .venv/.tested  ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

.venv/.tested: requirements-dev.txt .venv/.installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

.venv/.compared: requirements-torch.txt .venv/.tested
	$(BIN)/python -m pip install --quiet -r requirements-torch.txt
	@touch $@
