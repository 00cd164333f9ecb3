# The names of this file are what the README promises; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What a user may set: the address of `make serve` and the Serve config file it runs.
CONFIG ?= examples/local.yaml

export RAY_SERVE_ENABLE_HA_PROXY ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0
# No handler of ours blocks the event loop, so a second one beside Serve's would only cost hand-overs.
export RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD ?= 0
# Behind no load balancer there is nobody to wait for when the server stops.
export RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S ?= 0

# What `make image` makes. BUILDER is docker, podman or buildah; unset, the first that works.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= capstan
TAG ?= $(VERSION)
# The default is the Dockerfile's.
BASE_IMAGE ?=
IMAGE_BUILD_FLAGS ?=
SOURCE ?=

.PHONY: help setup serve test coverage fuzz lint format train bench docs constraints image e2e deploy status rollback clean

help:  ## Say what each target does
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Install everything into .venv

# The tested versions are pinned by constraints.txt; pyproject.toml says what would do.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else \
		f"Python {v[0]}.{v[1]} is not supported; set PYTHON to one of 3.11 to 3.14: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev,rollout]'
	@touch $@

serve: $(INSTALLED)  ## Serve the embedded model on http://127.0.0.1:8000
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/serve run $(CONFIG)

test: $(INSTALLED)  ## Run the tests (no GPU, no network, no Kubernetes; the page's need chromium)
	$(BIN)/python -m pytest

coverage: $(INSTALLED)  ## Run the tests, slower, and say which lines they reach
	$(BIN)/python -m pytest --cov --cov-report=term

e2e: $(INSTALLED)  ## Run the tests that install the chart into the cluster of KUBECONFIG (docs/deploy.md)
	$(BIN)/python -m pytest -m e2e tests/e2e

fuzz: $(INSTALLED)  ## Fuzz what comes from outside, FUZZ_SECONDS (60) for each of its tests
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(BIN)/python -m pytest tests/fuzz

lint: $(INSTALLED)  ## Check style, types, layers and generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m tools.reference --check
	$(BIN)/helm lint --strict --quiet helm/capstan

format: $(INSTALLED)  ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(INSTALLED)  ## Train the embedded model anew into build/embedded
	$(BIN)/python -m training.train --out build/embedded

bench: $(INSTALLED)  ## Measure the engine alone; with the server running, `make bench KIND=http`
	$(BIN)/python -m bench $(or $(KIND),engine)

docs: $(INSTALLED)  ## Make docs/settings.md, docs/errors.md and the chart's values from their sources
	$(BIN)/python -m tools.reference

constraints: $(INSTALLED)  ## Pin what is installed now as the tested set
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | LC_ALL=C sort > constraints.txt

image:  ## Build the image IMAGE:TAG, on BASE_IMAGE if that is set
	@for tool in $(or $(BUILDER),docker podman buildah); do \
		if $$tool info >/dev/null 2>&1; then builder=$$tool; break; fi; \
	done; \
	test -n "$$builder" || { echo "make image: none of docker, podman and buildah answers \`info\`; start or install one" >&2; exit 1; }; \
	set -x; $$builder build --tag $(IMAGE):$(TAG) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
		$(if $(SOURCE),--build-arg SOURCE=$(SOURCE)) $(IMAGE_BUILD_FLAGS) .

# Where and what the next three act on; all have defaults. VALUES may name several files.
VALUES ?=
NAMESPACE ?=
RELEASE ?= capstan
REVISION ?=
PLACE = --release $(RELEASE) $(if $(NAMESPACE),--namespace $(NAMESPACE))

deploy: $(INSTALLED)  ## Install or upgrade on Kubernetes: make deploy VALUES=my.yaml NAMESPACE=captions
	$(BIN)/capstan deploy $(foreach file,$(VALUES),--values $(file)) $(PLACE) $(DEPLOY_FLAGS)

status: $(INSTALLED)  ## Say what serves on Kubernetes: make status NAMESPACE=captions
	$(BIN)/capstan status $(PLACE)

rollback: $(INSTALLED)  ## Go back to the last revision that served, or to REVISION=N
	$(BIN)/capstan rollback $(REVISION) $(PLACE) $(DEPLOY_FLAGS)

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage
