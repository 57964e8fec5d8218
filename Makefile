# make demo and make test work on a fresh machine with python3.11, make and a C compiler.
PYTHON ?= python3.11
BIN := .venv/bin
CACHE := $(or $(NEUROPRINT_CACHE),.neuroprint)
# A patient of the hold-out: the sweep has not seen it.
DEMO_CASE := $(CACHE)/phantom/80-cases-2mm-seed0/Phantom_00003
.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-cluster lint format

help:
	@echo "make demo       install, sweep two levels by two poolings, export the best, query it with a new case"
	@echo "make test       install, run the whole test suite"
	@echo "make test-fast  the same without what is slow"
	@echo "make test-cluster  sweeps on PostgreSQL, Slurm and Ray, started here; names what cannot start"
	@echo "make lint       install, check format, lint and types"
	@echo "make format     put the code into ruff's format"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# Alone: timm, which its networks used here do without, brings a torchvision that no CPU build of torch fits.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps dynamic-network-architectures
	touch $@

demo: install
	$(BIN)/python run.py -m layer=2,4 pooling=mean,spatial_softmax
	$(BIN)/neuroprint export $(CACHE)/demo/bundle
	$(BIN)/neuroprint query $(CACHE)/demo/bundle $(DEMO_CASE)

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-cluster: install
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cluster]'
	$(BIN)/python -m pytest -n 2 --dist loadfile -m cluster

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
