# The menu. `make` brings the generated modules up to date; `make help` lists the rest.

PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready

.PHONY: protos setup demo test check bench lock clean help

protos: $(READY)  ## Bring the generated modules of conf/ up to date (the default)
	@$(BIN)/heyhi protos

setup: protos  ## Make .venv from the lock file, and the generated modules

# Written last: an interrupted set-up is done again.
$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv (once, about a minute) ..."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; make PYTHON=... names another")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: protos  ## Play games, train two models, let them play (under two minutes)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash workflows/demo.sh

test: protos  ## The tests (under ten minutes)
	$(BIN)/pytest

check: protos  ## Formats, lint, types, layers, reproducible generated modules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.check_protos

fix: $(READY)  ## Format, and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: protos  ## Measure, side by side with others
	$(BIN)/python -m bench

lock: $(READY)  ## Make requirements.lock anew from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --group dev pyproject.toml -o requirements.lock

clean:  ## Remove .venv, the generated modules and caches (no results)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f conf/*_pb2.py conf/*_pb2.pyi conf/*_cfgs.py conf/*_cfgs.pyi conf/.heyhi_protos.lock

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
