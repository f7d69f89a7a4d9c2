# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bats pytest bench

export BATS_LIB_PATH := $(CURDIR)/node_modules
# Files, programs and pages are UTF-8, whatever the locale of this machine is.
export PYTHONUTF8 := 1
# Hundreds of processes import the same modules; with this variable each of them compiles all of them again.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12     make .venv with this interpreter (3.10 or newer)"
	@echo "  TORCH_INDEX_URL=URL   take torch from another package index, for example its CPU build"

setup: ## Install everything into .venv and node_modules, once.
	@scripts/setup

demo: ## One commit becomes a served, traceable model, on this machine.
	@scripts/demo

test: ## Lint, then every test.
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory bats
	@$(MAKE) --no-print-directory pytest

lint: setup ## Every linter.
	@scripts/lint

bats: setup ## The tests of the plugins' hooks.
	@node_modules/bats/bin/bats tests/plugins

pytest: setup ## The tests of the Python code, and end to end.
	@.venv/bin/pytest -q -n 3 --no-loadscope-reorder

bench: setup ## Against awscli: a submission; against FastAPI: an answer; against fastText: a training; Metaflow: a sweep.
	@.venv/bin/python bench/submit.py
	@.venv/bin/python bench/serving.py
	@.venv/bin/python bench/train.py
	@.venv/bin/python bench/sweep.py
