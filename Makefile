# make reproduce   set up, run the quick tier of every paper, print the verdicts
# make test        set up and run the tests
# make bench       our speed beside a peer's
# make setup       only install, into .venv
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup reproduce test bench lint clean
setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "error: $$($(PYTHON) --version) will not do; Python 3.11 to 3.13 is needed: make PYTHON=python3.12 setup"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

reproduce: setup
	@repro data fetch --needed --allow-missing
	@failed=0; \
	snakemake --cores all --quiet rules --rerun-incomplete --keep-going || { failed=1; repro report; }; \
	repro judge --records local || test $$? -eq 1 || failed=1; \
	echo "Pages: file://$(CURDIR)/reports/site/index.html"; \
	exit $$failed

test: setup
	pytest -n auto

bench: setup
	python benchmarks/run.py

lint: setup
	ruff check .
	ruff format --check .
	mypy
	snakemake --lint

clean:
	rm -rf results/local reports/site .snakemake
