# make demo and make test work on a fresh machine with python3.11, make and a C compiler.
PYTHON ?= python3.11
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install demo test lint format

help:
	@echo "make demo     install, sweep two poolings over the phantom, print the leaderboard"
	@echo "make test     install, run the whole test suite"
	@echo "make lint     install, check format, lint and types"
	@echo "make format   put the code into ruff's format"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/python run.py -m pooling=mean,max

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
