# Everything starts from Python 3.11 or later and make: each target makes .venv and installs what it needs, once.
# Targets run one after another also with `make -j`: they share one .venv.
.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
PYTHON_IN := $(VENV)/bin/python
PIP := $(PYTHON_IN) -m pip --disable-pip-version-check --quiet --quiet
# The first of these that is 3.11 or later is used; PYTHON=… on the command line comes before them.
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python
WORKERS ?= 2

##@ Use it

.PHONY: demo
demo: $(VENV)/installed-demo ## run the worked example; CHECK=1 sends the requests itself and exits 0 or 1; PORT=8080
	@exec $(PYTHON_IN) -m apostille demo $(if $(filter-out 0,$(CHECK)),--check) $(if $(PORT),--port $(PORT))

##@ Work on it

.PHONY: setup
setup: $(VENV)/installed-dev ## make .venv with everything for development

.PHONY: test
test: $(VENV)/installed-dev ## run every test; ARGS="tests/unit -k name" runs some
	@exec $(PYTHON_IN) -m pytest -n $(WORKERS) $(ARGS)

.PHONY: check
check: check-format check-lint check-types check-layers ## everything that is checked without running the program

.PHONY: check-format
check-format: $(VENV)/installed-dev
	@echo "check: format"
	@$(PYTHON_IN) -m ruff format --check . || { echo "make format puts it right" >&2; exit 1; }

.PHONY: check-lint
check-lint: $(VENV)/installed-dev
	@echo "check: lint"
	@$(PYTHON_IN) -m ruff check --quiet .

.PHONY: check-types
check-types: $(VENV)/installed-dev
	@echo "check: types"
	@$(PYTHON_IN) tools/stubs.py
	@$(PYTHON_IN) -m mypy --no-error-summary

.PHONY: check-layers
check-layers: $(VENV)/installed-dev
	@echo "check: layers"
	@said=$$($(VENV)/bin/lint-imports --no-logo) || { echo "$$said"; exit 1; }

.PHONY: format
format: $(VENV)/installed-dev ## format the code and repair what can be repaired without thought
	@$(PYTHON_IN) -m ruff check --quiet --fix-only .
	@$(PYTHON_IN) -m ruff format --quiet .

.PHONY: golden-update
golden-update: $(VENV)/installed-dev ## write golden files anew and show what changed; CASE=name for one of them
	@$(PYTHON_IN) -m pytest tests/golden --update-golden $(if $(CASE),-k "$(CASE)")
	@git --no-pager diff -- tests/golden

.PHONY: bench
bench: $(VENV)/installed-demo ## measure what a request costs, beside other gateways; ARGS=--quick takes some minutes
	@exec $(PYTHON_IN) -m bench $(ARGS)

.PHONY: clean
clean: ## remove .venv and all that was generated
	rm -rf $(VENV) .stubs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests tools examples bench -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## show this
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What pip installed is written down beside it; a change of pyproject.toml installs again.
$(VENV)/installed-demo: pyproject.toml | $(PYTHON_IN)
	@echo "installing Apostille and its demonstration into $(VENV) (once, a minute or two)" >&2
	@$(PIP) install -e '.[demo]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(PYTHON_IN)
	@echo "installing Apostille and its development tools into $(VENV) (once, a minute or two)" >&2
	@$(PIP) install -e '.[demo,dev]'
	@touch $@ $(VENV)/installed-demo

$(PYTHON_IN):
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "$$python could not make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; \
	    fi; \
	done; \
	echo "Python 3.11 or later is needed and none of these is: $(PYTHONS). Try make PYTHON=/path/to/python" >&2; exit 1
