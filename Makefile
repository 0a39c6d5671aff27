# Ringway's commands, for GNU make 4.3 and a POSIX sh. `make help` lists them.
#
#   make run ARGS="--http-port 18080"     a call server with demo extensions, no configuration
#   make test                             lint, types, unit, flow and interop tests

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CODE := sip media signalling server tests examples bench
PRESENT = $(wildcard $(addsuffix /*.py,$(CODE)))
PACKAGES = $(sort $(patsubst %/,%,$(dir $(PRESENT))))

# An install is repeated only when what it is made from changed: the stamp's name holds the checksum.
sum = $(shell cat pyproject.toml $(1) | cksum | tr -s ' \t' '--')
RUN_STAMP := $(VENV)/.installed-run$(call sum,requirements/base.txt requirements/build.txt)
DEV_STAMP := $(VENV)/.installed-dev$(call sum,requirements/dev.txt)

.NOTPARALLEL:
.PHONY: help run test tools lint types unit interop format bench fuzz client vendor requirements clean

help:
	@sed -n 's/^## //p' Makefile

## make run [ARGS=...]   make the environment and start `ringway dev ARGS`
run: $(RUN_STAMP)
	@exec $(BIN)/ringway dev $(ARGS)

## make test             install test tools, then lint, types, unit, flow and interop tests
test: tools lint types unit interop

tools: $(DEV_STAMP)
	@sh .ci/install-tools

## make lint             ruff check and ruff format --check
lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

## make types            mypy --strict on code, tests and examples
types: $(DEV_STAMP)
	$(BIN)/mypy $(PACKAGES)

# Tests that need real phones or a network namespace run one at a time, after all others.
unit: $(DEV_STAMP)
	$(BIN)/pytest -n auto --dist loadscope -m "not interop and not netns" $(ARGS)

interop: $(DEV_STAMP)
	@if grep -rqlE "mark\.(interop|netns)" tests --include='*.py'; then \
		echo '$(BIN)/pytest -m "interop or netns" $(ARGS)'; $(BIN)/pytest -m "interop or netns" $(ARGS); \
	else echo "no interop tests yet"; fi

## make format           rewrite the code in ruff's format
format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## make bench [ARGS=...] measure CPU, memory and latency
bench: $(DEV_STAMP)
	$(BIN)/python -m bench $(ARGS)

## make fuzz [ARGS=...]  feed mutated messages to the parser
fuzz: $(DEV_STAMP)
	$(BIN)/python -m tests.fuzz.run $(or $(ARGS),--count 100000)

## make client           write the Python client anew, from the server's operations
client: $(DEV_STAMP)
	$(BIN)/python -m tests.server.client.generate

## make vendor           bundle JsSIP for the phone page anew (needs npm)
vendor:
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	cp requirements/jssip/* "$$folder"; \
	(cd "$$folder" && npm ci --ignore-scripts --no-audit --no-fund --silent && node build.mjs jssip.js); \
	cp "$$folder/jssip.js" server/console/phone/jssip.js

## make requirements     pin the dependencies anew (needs uv)
COMPILE = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
requirements:
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/base.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt

## make clean            remove the environment, caches and builds
clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ringway needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@if uv --version >/dev/null 2>&1; then uv venv -q --python "$$(command -v $(PYTHON))" $(VENV); \
		else $(PYTHON) -m venv $(VENV); fi

# $(call install,FILES): exactly the pinned files, each checked by its hash, and Ringway itself in place.
define install
	@echo "installing $(1) into $(VENV)"
	@if uv --version >/dev/null 2>&1; then \
		uv pip install -q --python $(BIN)/python --compile-bytecode --require-hashes $(addprefix -r ,$(1)); \
		uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes $(addprefix -r ,$(1)); \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@$(BIN)/python -m compileall -q sip media signalling server
	@touch $@
endef

$(RUN_STAMP): | $(VENV)/bin/python
	$(call install,requirements/base.txt requirements/build.txt)

$(DEV_STAMP): | $(VENV)/bin/python
	$(call install,requirements/dev.txt)
