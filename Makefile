# NeuroGrid. `make help` lists the targets.
#
#   TORCH_INDEX   package index to take torch from; without it setup/torch chooses: torch's CPU index where no NVIDIA driver is
#   PYTHON        the Python 3.11 to make .venv with
#   WORKERS       processes that run the tests; two suit a machine of two cores or more
#   NEUROGRID_DATA  folder with real readings (see docs/data.md); tests that need them are skipped without

PYTHON ?= python3.11
TORCH_INDEX ?=
WORKERS ?= 2
export TORCH_INDEX
export NEUROGRID_DATA ?= $(abspath ../shared/data)
BIN := .venv/bin
TORCH := torch==2.13.0
DEMO := build/demo
HAS_PYTHON = command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; name another Python 3.11 with PYTHON=..." >&2; exit 2; }

.DEFAULT_GOAL := help
.PHONY: help setup setup-k8s demo attackers watch dashboards-json test slow check results bench picture notebook docs chart-docs cluster-test cluster-test-first cluster-test-others lock clean

# What speaks to a cluster needs little; all of it serves, too, where it is there already.
LIGHT := $(firstword $(wildcard .venv/.ready) .venv/.k8s)

include k8s/cluster.mk

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9 -]*:.*## / { n = split($$1, names, " "); for (i = 1; i <= n; i++) printf "  %-20s %s\n", names[i], $$2 }' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv from the lock file

setup-k8s: $(LIGHT) ## make .venv with what only submits to a cluster and watches: no Java, no torch

.venv/.ready: requirements.lock pyproject.toml
	@setup/java
	@$(HAS_PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	setup/torch $(BIN)/python $(TORCH)
	# byzfl, the oracle of the robust rules' tests, asks for torchvision, which the rules do not need.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps byzfl==0.0.11
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	setup/classes $(BIN)/python || echo "Spark starts, a second or two later each time" >&2
	@touch $@

.venv/.k8s: requirements-k8s.lock pyproject.toml
	@$(HAS_PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-k8s.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## a federation from raw readings to report, on made-up data, in minutes
	rm -rf $(DEMO)
	$(BIN)/neurogrid synth $(DEMO)/data
	$(BIN)/neurogrid run --config examples/demo.yaml --data-dir $(DEMO)/data --warehouse $(DEMO)/warehouse

$(DEMO)/warehouse/manifests:
	$(MAKE) demo

# The demo's training twice more: without attackers, and with them but with a plain mean instead of the demo's rule.
AGAIN = $(BIN)/neurogrid train --config examples/demo.yaml --warehouse $(DEMO)/warehouse --set personal.steps=0
attackers: setup | $(DEMO)/warehouse/manifests ## what the demo's attackers cost, and what its rule saves; a minute
	rm -rf $(DEMO)/warehouse/runs/no-attack $(DEMO)/warehouse/runs/plain-mean
	$(AGAIN) --set run_id=no-attack --set attack.kind=none
	$(AGAIN) --set run_id=plain-mean --set aggregation.rule=mean --set aggregation.clip.to=none
	@echo "The held-out loss, the smaller the better, with the attackers and the demo's rule, without attackers, and with a plain mean:"
	$(BIN)/neurogrid runs --warehouse $(DEMO)/warehouse

watch: setup ## the newest run's figures in the terminal; WAREHOUSE=... and RUN=... choose another
	$(BIN)/neurogrid watch $(RUN) --warehouse $(or $(WAREHOUSE),$(DEMO)/warehouse)

dashboards-json: setup ## the chart's dashboards from monitoring/source
	$(BIN)/python monitoring/source/make.py

# What shares a session, renderings or a release is one worker's (tests/conftest.py), so that they are made once.
PYTEST = $(BIN)/python -m pytest -q --durations=25
SHARED = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: setup ## the tests; four minutes on two cores
	$(PYTEST) $(SHARED) -m "not slow and not cluster"

slow: setup ## the tests that take longer
	$(PYTEST) $(SHARED) -m "slow and not cluster"

# These take one release step by step; the others have releases of their own, and can run beside them.
FIRST_RELEASE = $(addprefix tests/cluster/test_,install.py beside.py k8s_command.py uninstall.py)

cluster-test: cluster-test-first cluster-test-others ## what needs the cluster in KUBECONFIG with the image on its nodes; 25 minutes

cluster-test-first: setup $(CHART)/charts/$(OPERATOR) ## those of the cluster's tests that share a release
	$(PYTEST) -m cluster $(FIRST_RELEASE)

cluster-test-others: setup $(CHART)/charts/$(OPERATOR) ## the other tests on the cluster
	$(PYTEST) -m cluster tests/cluster $(addprefix --ignore=,$(FIRST_RELEASE))

check: setup ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SEEDS = 11,12,13,14,15
results: setup ## docs/results.md from the real readings in NEUROGRID_DATA, an hour and a half; QUICK=1: build/results-quick.md, 15 minutes
	rm -rf build/results$(if $(QUICK),-quick)
	$(BIN)/neurogrid bench results --data-dir $(NEUROGRID_DATA) $(if $(QUICK),--quick,--seeds $(SEEDS))

bench: setup ## docs/benchmarks.md: rounds and ETL, each against a peer in the same run; 30 minutes, 8 GB of disk
	$(BIN)/neurogrid bench rounds --rounds 3 --out build/bench/rounds
	$(BIN)/neurogrid bench etl --out build/bench/etl
	$(BIN)/neurogrid bench etl-large --out build/bench/etl-large
	{ printf '# Benchmarks\n\nMade by `make bench` on %s cores, %s. Read ratios: each row is measured in turn with its peer.\n\n' "$$(getconf _NPROCESSORS_ONLN)" "$$(uname -m)"; \
	  cat build/bench/rounds.md; printf '\n'; cat build/bench/etl.md; printf '\n'; cat build/bench/etl-cold.md; printf '\n'; cat build/bench/etl-large.md; } > docs/benchmarks.md

picture: demo ## docs/report.png from the demo's report; needs chromium
	$(BIN)/python -m neurogrid.report.picture $(DEMO)/warehouse docs/report.png

notebook: setup ## notebooks/demo.ipynb again, with what its cells give; two minutes
	$(BIN)/python notebooks/make.py notebooks/demo.ipynb

docs: setup ## docs/config.md from the schema
	$(BIN)/neurogrid config schema > docs/config.md

chart-docs: setup ## the chart's schema and table of values
	$(BIN)/python helm/generate.py

LOCKED = $(BIN)/pip-compile --quiet --generate-hashes --unsafe-package torch --unsafe-package neurogrid --strip-extras --no-header --no-annotate \
  --no-emit-find-links --no-emit-index-url --no-emit-trusted-host

lock: setup ## both lock files anew, with pip-tools; torch stays out, since its CPU builds have other hashes
	$(BIN)/pip install --quiet pip-tools
	$(LOCKED) --extra dev -o requirements.lock pyproject.toml
	$(LOCKED) --extra k8s -c requirements.lock -o requirements-k8s.lock pyproject.toml

clean: ## remove what was built, .venv included
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis
