# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint

help: ## Show this.
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  TORCH_INDEX_URL=URL   take torch from another package index, for example its CPU build"

setup: ## Install everything into .venv and node_modules, once.
	@scripts/setup

demo: ## One commit becomes a served, traceable model, on this machine.
	@scripts/setup python
	@.venv/bin/python -m modelbuild.local.demo

test: ## Lint, then every test.
	@scripts/setup
	@scripts/test

lint: ## Every linter.
	@scripts/setup
	@scripts/lint
