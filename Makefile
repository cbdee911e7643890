# The commands of the project; `make help` explains them. What they do is in .venv/bin/workroom,
# infra/local/bootstrap.sh and tests/run.py.
.DEFAULT_GOAL := help
.PHONY: help up down test test-unit bench soak lint types format lock docs hub-env dev-env
WORKROOM := .venv/bin/workroom
RUN := .venv/bin/python tests/run.py

help:  ## Say what each command does
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' Makefile

up: hub-env  ## Start everything; prints the address and the log-in (WORKROOM_PORT=8010 for another port)
	@$(WORKROOM) up

down: hub-env  ## Stop everything; homes stay (PURGE=1 removes them too, after a question; YES=1 answers it)
	@$(WORKROOM) down $(if $(PURGE),--purge) $(if $(YES),--yes)

test: dev-env  ## Every check: lint, types, unit, end to end; installs what it needs
	@$(RUN) all

test-unit: dev-env  ## The fast checks: lint, types, unit; no Docker, no network
	@$(RUN) lint types unit

bench: dev-env  ## Every benchmark, one JSON line each (NAME=spawn-local for one)
	@.venv/bin/python tests/benchmarks/run.py $(NAME)

soak: dev-env  ## The waits that tests shorten, in real time (about 40 minutes)
	@$(RUN) soak

lint: dev-env  ## Style, formatting and import rules
	@$(RUN) lint

types: dev-env  ## Types
	@$(RUN) types

format: dev-env  ## Put the formatting right
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .

lock: dev-env  ## Write requirements/*.txt anew from the .in files and pyproject.toml
	@infra/local/lock.sh

docs: hub-env  ## Write docs/settings.md anew from the code
	@$(WORKROOM) config docs >docs/settings.md

hub-env:
	@infra/local/bootstrap.sh hub

dev-env:
	@infra/local/bootstrap.sh dev
