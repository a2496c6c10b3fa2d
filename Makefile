# `make` needs Python 3.11 or newer, and nothing that is not on PyPI. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := study
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV_ARGS ?=
BUDGET ?= quick
DATA ?=
DATA_DIR ?=
SEEDS ?=
WORKERS ?= 0
FRESH ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
# By module, not by script: a package that --system-site-packages finds has no script in .venv.
BUILD_BOOK := $(BIN)/python -c 'from jupyter_book.cli.main import main; main()' build
# A variable as one word of the shell's, be there quotes, dollars or spaces in it.
quoted = '$(subst ','\'',$(value $(1)))'
RERUN_OPTIONS := --workers $(WORKERS) --budget $(BUDGET) $(if $(value DATA),--data $(call quoted,DATA)) \
	$(if $(value DATA_DIR),--data-dir $(call quoted,DATA_DIR)) $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(filter-out 0,$(FRESH)),--fresh)

# The executed copies take the place of the committed notebooks in a copy of the book, so that a
# rerun never touches what is committed.
.PHONY: study
study: $(INSTALLED) ## set up, rerun the study at BUDGET, build the book with it (the default)
	$(BIN)/vggrepro rerun all $(RERUN_OPTIONS)
	rm -rf _build/book-src
	cp -R book _build/book-src
	for page in book/*.py; do cp "_build/rerun/$$(basename "$$page" .py).ipynb" _build/book-src/; done
	$(BUILD_BOOK) _build/book-src -W --keep-going --quiet
	@$(BIN)/python -m vggrepro.pages.reruns $(BUDGET)

.PHONY: book
book: $(INSTALLED) ## build the book from the committed notebooks, rerun nothing
	$(BUILD_BOOK) book -W --keep-going --quiet
	@$(BIN)/python -c 'from vggrepro.pages.reruns import BUILT; print("The book:", BUILT.as_uri())'

.PHONY: test
test: $(INSTALLED) ## lint, unit tests, all notebooks, strict build of the book, render-check
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pytest --nbval -n logical --maxprocesses 4 --dist loadfile
	$(MAKE) --no-print-directory render-check

.PHONY: torture
torture: $(INSTALLED) ## kills, full disks, flipped bits, hostile files: the table in CONTRIBUTING
	$(BIN)/python -m tests.torture --write CONTRIBUTING.md

.PHONY: render
render: $(INSTALLED) ## execute all chapters from their scripts into the committed notebooks
	$(BIN)/python -m vggrepro.pages.render

.PHONY: render-check
render-check: $(INSTALLED) ## check that rendering again would change no byte
	$(BIN)/python -m vggrepro.pages.render --check

.PHONY: install
install: $(INSTALLED) ## only set up .venv

.PHONY: clean
clean: ## remove what was built; .venv and the records in rerun/ stay
	rm -rf _build .pytest_cache .ruff_cache .hypothesis

.PHONY: help
help: ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  BUDGET=quick        how much of the protocol is run (vggrepro list --help names the budgets)"
	@echo "  DATA=  DATA_DIR=    which data set, and the folder it is in"
	@echo "  SEEDS=              how many seeds of each run"
	@echo "  WORKERS=0           processes that share the runs; 0: one for each core, at most four"
	@echo "  FRESH=1             run again what is already done"
	@echo "  PYTHON=python3      the interpreter that .venv is made with"
	@echo "  VENV_ARGS=--system-site-packages    use the torch that is already installed"

# With the system's packages visible, its torch stays: our pin would bring another one.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV_ARGS) .venv
	@if grep -q 'include-system-site-packages = true' .venv/pyvenv.cfg; \
		then grep -vE '^torch(vision)?==' constraints.txt; else cat constraints.txt; \
		fi > .venv/constraints.txt
	@echo "Installing into .venv (once; PyPI's torch for x86-64 Linux brings CUDA, about 6 GB)"
	@# What is never imported need not be compiled: that is a third of the time.
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check \
		-c .venv/constraints.txt -e '.[book,test]'
	@touch $@
