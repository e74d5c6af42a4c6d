# NeuroGrid. `make help` lists the targets.
#
#   TORCH_INDEX   package index with CPU builds of torch; without it pip takes torch from its usual index
#   PYTHON        the Python 3.11 to make .venv with
#   NEUROGRID_DATA  folder with real readings (see docs/data.md); tests that need them are skipped without

PYTHON ?= python3.11
TORCH_INDEX ?=
export NEUROGRID_DATA ?= $(abspath ../shared/data)
BIN := .venv/bin
TORCH := torch==2.13.0
DEMO := build/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo watch dashboards-json panel-pictures test slow check results bench picture docs chart-docs cluster-test lock clean

include k8s/cluster.mk

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9 -]*:.*## / { n = split($$1, names, " "); for (i = 1; i <= n; i++) printf "  %-16s %s\n", names[i], $$2 }' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv from the lock file

.venv/.ready: requirements.lock pyproject.toml
	@command -v java >/dev/null || { echo "Java 17 is needed for Spark: install it, or put it on the PATH" >&2; exit 2; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; name another Python 3.11 with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	# byzfl, the oracle of the robust rules' tests, asks for torchvision, which the rules do not need.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps byzfl==0.0.11
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## a federation from raw readings to report, on made-up data, in minutes
	rm -rf $(DEMO)
	$(BIN)/neurogrid synth $(DEMO)/data
	$(BIN)/neurogrid run --config examples/demo.yaml --data-dir $(DEMO)/data --warehouse $(DEMO)/warehouse

watch: setup ## the newest run's figures in the terminal; WAREHOUSE=... and RUN=... choose another
	$(BIN)/neurogrid watch $(RUN) --warehouse $(or $(WAREHOUSE),$(DEMO)/warehouse)

dashboards-json: setup ## monitoring/dashboards and the chart's copies from monitoring/source
	$(BIN)/python monitoring/source/make.py

panel-pictures: setup ## docs/monitoring-*.png of a real run with attackers; needs prometheus on the PATH; 5 minutes
	$(BIN)/python monitoring/source/pictures.py docs

test: setup ## the tests, under five minutes
	$(BIN)/python -m pytest -q --durations=15 -m "not slow and not cluster"

slow: setup ## the tests that take longer
	$(BIN)/python -m pytest -q --durations=25 -m "slow and not cluster"

cluster-test: setup $(CHART)/charts ## the chart, and what needs the cluster in KUBECONFIG with the image on its nodes; 30 minutes
	$(BIN)/python -m pytest -q --durations=25 tests/chart tests/cluster

check: setup ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results: setup ## docs/results.md from the real readings in NEUROGRID_DATA; 20 minutes
	rm -rf build/results
	$(BIN)/neurogrid bench results --data-dir $(NEUROGRID_DATA) --seeds 21,22 --out docs/results.md

bench: setup ## docs/benchmarks.md: rounds and ETL, each against a peer in the same run; 20 minutes
	$(BIN)/neurogrid bench rounds --rounds 3 --out build/bench/rounds
	$(BIN)/neurogrid bench etl --out build/bench/etl
	{ printf '# Benchmarks\n\nMade by `make bench` on %s cores, %s. Read ratios: each row is measured in turn with its peer.\n\n' "$$(nproc)" "$$(uname -m)"; \
	  cat build/bench/rounds.md; printf '\n'; cat build/bench/etl.md; } > docs/benchmarks.md

picture: demo ## docs/report.png from the demo's report; needs chromium
	$(BIN)/python -m neurogrid.report.picture $(DEMO)/warehouse docs/report.png

docs: setup ## docs/config.md from the schema
	$(BIN)/neurogrid config schema > docs/config.md

chart-docs: setup ## the chart's schema and table of values
	$(BIN)/python helm/generate.py

lock: setup ## requirements.lock anew, with pip-tools; torch stays out, since its CPU builds have other hashes
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --extra dev --unsafe-package torch --strip-extras --no-header \
	  --no-annotate --no-emit-find-links --no-emit-index-url --no-emit-trusted-host -o requirements.lock pyproject.toml

clean: ## remove what was built, .venv included
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis
