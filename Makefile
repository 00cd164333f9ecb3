# The README names these targets; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The Serve config file that `make serve` runs.
CONFIG ?= examples/local.yaml

export RAY_SERVE_ENABLE_HA_PROXY ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0
# Our handlers never block the event loop, so running them in a second one would only add hand-overs.
export RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD ?= 0
# A full replica refuses before Serve spends time on the request.
export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH ?= service.ingress:middlewares
# A busy machine may need longer than 5 s to start a proxy, which Serve would then start again and again.
export RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S ?= 30
# Without a load balancer, there is no traffic to drain when the server stops.
export RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S ?= 0

# The image that `make image` builds. BUILDER is docker, podman or buildah; by default the first that works.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= capstan
TAG ?= $(VERSION)
# Empty: the default in the Dockerfile.
BASE_IMAGE ?=
IMAGE_BUILD_FLAGS ?=
SOURCE ?=

.PHONY: help setup serve test coverage engines fuzz lint format train bench docs constraints image release site chart-push e2e chaos deploy status rollback clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Install everything into .venv

# constraints.txt pins the tested versions; pyproject.toml has the supported ranges.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else \
		f"Python {v[0]}.{v[1]} is not supported; set PYTHON to one of 3.11 to 3.14: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[batch,dev,rollout]'
	@touch $@

serve: $(INSTALLED)  ## Serve the embedded model on http://127.0.0.1:8000
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m service.run $(CONFIG)

# Servers share ports, so the tests that start one follow one another; of the others, one runs on each core.
PURE := not service and not browser and not e2e and not engines and not chaos
test: $(INSTALLED)  ## Run the tests: no GPU, network or Kubernetes; the page's need Chromium; FAST=1 skips slow ones
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m '$(PURE)$(if $(FAST), and not slow)'
	$(if $(FAST),,$(BIN)/python -m pytest -m 'service or browser')

coverage: $(INSTALLED)  ## Run the tests with line and branch coverage
	$(BIN)/python -m pytest --cov --cov-report=term

e2e: $(INSTALLED)  ## Test the chart in the cluster of KUBECONFIG (docs/deploy.md)
	$(BIN)/python -m pytest -m e2e tests/e2e

chaos: $(INSTALLED)  ## Break things in that cluster, REDIS=HOST:PORT; FAST=1 skips what takes minutes (docs/reliability.md)
	$(BIN)/python -m pytest -m 'chaos$(if $(FAST), and not slow)' tests/chaos

engines: $(INSTALLED)  ## Test vLLM behind the service: make engines VLLM=/path/to/vllm (docs/engines.md)
	VLLM="$(VLLM)" $(BIN)/python -m pytest -m engines tests/engines

fuzz: $(INSTALLED)  ## Fuzz untrusted input, FUZZ_SECONDS (60) for each test
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(BIN)/python -m pytest tests/fuzz

lint: $(INSTALLED)  ## Check style, types, layers, words and generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m tools.words
	$(BIN)/python -m tools.reference --check
	$(BIN)/helm lint --strict --quiet helm/capstan

format: $(INSTALLED)  ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(INSTALLED)  ## Train the embedded model again, into build/embedded
	$(BIN)/python -m training.train --out build/embedded

bench: $(INSTALLED)  ## Benchmark the engine, or with KIND=http a running server
	$(BIN)/python -m bench $(or $(KIND),engine)

docs: $(INSTALLED)  ## Generate docs/settings.md, docs/errors.md, docs/metrics.md's table and the chart's values
	$(BIN)/python -m tools.reference

constraints: $(INSTALLED)  ## Pin the installed versions in constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | LC_ALL=C sort > constraints.txt

release: $(INSTALLED) image  ## Build wheel, chart and image with SBOMs into dist, signed with COSIGN_KEY
	@for tool in $(or $(BUILDER),docker podman buildah); do \
		if $$tool info >/dev/null 2>&1; then builder=$$tool; break; fi; \
	done; \
	$(BIN)/python -m tools.release --out dist --image $(IMAGE):$(TAG) --builder $$builder

site: $(INSTALLED)  ## Build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

image:  ## Build the image IMAGE:TAG, on BASE_IMAGE if set
	@for tool in $(or $(BUILDER),docker podman buildah); do \
		if $$tool info >/dev/null 2>&1; then builder=$$tool; break; fi; \
	done; \
	test -n "$$builder" || { echo "make image: none of docker, podman and buildah works; start or install one" >&2; exit 1; }; \
	set -x; $$builder build --tag $(IMAGE):$(TAG) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
		$(if $(SOURCE),--build-arg SOURCE=$(SOURCE)) $(IMAGE_BUILD_FLAGS) .

# An OCI registry that `helm registry login` knows, such as oci://registry.example.com/charts.
CHART_REGISTRY ?=
CHART_VERSION := $(shell sed -n 's/^version: //p' helm/capstan/Chart.yaml)

chart-push: $(INSTALLED)  ## Push the chart: make chart-push CHART_REGISTRY=oci://registry.example.com/charts
	@case "$(CHART_REGISTRY)" in oci://?*) ;; *) echo "make chart-push: CHART_REGISTRY is '$(CHART_REGISTRY)'; set it to an \
	OCI registry, such as oci://registry.example.com/charts" >&2; exit 1;; esac
	$(BIN)/helm package helm/capstan --destination build
	$(BIN)/helm push build/capstan-$(CHART_VERSION).tgz $(CHART_REGISTRY)

# The release that the next three targets act on. VALUES may name several files.
VALUES ?=
NAMESPACE ?=
RELEASE ?= capstan
REVISION ?=
FLAGS = --release $(RELEASE) $(if $(NAMESPACE),--namespace $(NAMESPACE))

deploy: $(INSTALLED)  ## Install or upgrade on Kubernetes: make deploy VALUES=my.yaml NAMESPACE=captions
	$(BIN)/capstan deploy $(foreach file,$(VALUES),--values $(file)) $(FLAGS) $(DEPLOY_FLAGS)

status: $(INSTALLED)  ## Show what runs on Kubernetes: make status NAMESPACE=captions
	$(BIN)/capstan status $(FLAGS)

rollback: $(INSTALLED)  ## Roll back to the last revision that served, or to REVISION=N
	$(BIN)/capstan rollback $(REVISION) $(FLAGS) $(DEPLOY_FLAGS)

clean:  ## Remove what the other targets created
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage
