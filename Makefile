# `make` brings the generated modules up to date; `make help` lists all targets.

PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready

.PHONY: protos setup demo test test-fast test-pages test-kill test-faults test-slurm slurm-up slurm-down check fix bench bench-long bench-slurm notebook reference lock profiles clean help

protos: $(READY)  ## Bring the generated modules of conf/ up to date (the default)
	@$(BIN)/heyhi protos

setup: protos  ## Make .venv from the lock file, and the generated modules

# Written last, so that make repeats an interrupted set-up.
$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv (once, under two minutes) ..."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; make PYTHON=... names another")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# Links beside Snakemake's own plugins, as in a normal install: Snakemake imports them in this order.
	@ln -sfn $(CURDIR)/snakemake_*_plugin_heyhi* "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"
	@# pip compiles on one core only. Compile now, so that neither a key press (tab completion) nor a job has to. Some
	@# packages contain files that this Python cannot compile.
	$(BIN)/python -m compileall -qq -j 0 heyhi "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')" || true
	@touch $@

demo: protos  ## Play games, train two models, let them play (under two minutes)
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --profile profiles/local --config batch=workflows/demo.sh
	@echo
	@$(BIN)/python -m tasks.show_scores

test: protos  ## Run the tests (under five minutes)
	@$(BIN)/pytest -n auto --dist worksteal -m "not slurm and not pages and not faults"

test-fast: protos  ## Run the tests that start no process (under a minute)
	@$(BIN)/pytest -n auto --dist worksteal -m "not processes and not slurm and not pages and not faults"

test-pages: protos  ## Run the documentation's commands, the notebook, reports in a browser (two minutes)
	@$(BIN)/pytest -n logical --dist worksteal -m pages

test-slurm: slurm-up  ## Run the tests that need Slurm, on a cluster that this starts
	@$(BIN)/pytest -n 4 --dist worksteal -m slurm

slurm-up: protos  ## Start a Slurm cluster on this machine, for tests (Debian's packages, loopback only)
	@$(BIN)/python -m tests.cluster up

slurm-down: protos  ## End this cluster, its jobs and its folder
	@$(BIN)/python -m tests.cluster down

test-kill: protos  ## Kill drivers and jobs at random moments, 100 rounds (under fifteen minutes)
	@HEYHI_KILL_ROUNDS=$${HEYHI_KILL_ROUNDS:-100} $(BIN)/pytest -n logical tests/test_kill.py

test-faults: protos  ## Try a kill, a torn write and an error at every file call, and broken run folders (under ten minutes)
	@$(BIN)/pytest -n logical --dist worksteal -m faults

check: protos  ## Check format, lint, types, layers and generated modules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflows heyhi
	$(BIN)/python -m tests.check_lint
	$(BIN)/python -m tests.check_protos

fix: protos  ## Format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflows heyhi

bench: protos  ## Measure beside other tools (seven to fifteen minutes)
	$(BIN)/python -m bench

bench-long: protos  ## Measure how cost grows with the number of runs (ten minutes)
	$(BIN)/python -m bench --long

bench-slurm: protos  ## Measure on a Slurm cluster that this starts (four minutes)
	$(BIN)/python -m bench --slurm

notebook: protos  ## Execute docs/notebook.ipynb, and keep its output
	$(BIN)/jupyter-execute --inplace docs/notebook.ipynb

reference: protos  ## Make docs/reference.md from the code
	HEYHI_PROJECT=$(CURDIR) $(BIN)/python -m tests.reference

lock: $(READY)  ## Make requirements.lock from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --group dev pyproject.toml -o requirements.lock

profiles: protos  ## Let plain `snakemake --profile local` and `--profile slurm` find these profiles
	@mkdir -p "$${XDG_CONFIG_HOME:-$$HOME/.config}/snakemake"
	@for name in local slurm; do \
	    ln -sfnv "$(CURDIR)/profiles/$$name" "$${XDG_CONFIG_HOME:-$$HOME/.config}/snakemake/$$name"; done

clean:  ## Remove .venv, the generated modules and caches (no results)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf conf/*_pb2.py conf/*_pb2.pyi conf/*_cfgs.py conf/*_cfgs.pyi conf/.heyhi_protos*

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
