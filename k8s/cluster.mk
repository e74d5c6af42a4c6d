# Targets for Kubernetes: a kind cluster made here, or whichever cluster KUBECONFIG names. docs/kubernetes.md has the rest.
#
#   NAMESPACE, RELEASE  where the chart goes, and under which name
#   VALUES       values of the release
#   SET          further options of helm, such as SET="--set jobs.train.executor.instances=3"
#   IMAGE        name and tag of the image
#   BUILD        command that builds it, in place of docker, podman or buildah (see images/build)
#   BUILD_ARGS   further options of the build; CUDA: "--build-arg TORCH=2.13.0+cu130 --build-arg TORCH_INDEX=<index>"
#   LOAD         how the cluster gets it: kind, push, none or a command (see images/load)
#   CLUSTER      name of the kind cluster
#   JOB          of `make logs`
#   NEUROGRID_CHARTS  folder with the operator's chart; without it `helm dependency build` fetches it
#   AGAIN        of `make run-...`: any text runs a job anew though it has completed with the same config

NAMESPACE ?= neurogrid
RELEASE ?= neurogrid
VALUES ?= k8s/values/laptop.yaml
SET ?=
IMAGE ?= neurogrid/spark:dev
CLUSTER ?= neurogrid
LOAD ?= kind:$(CLUSTER)
JOB ?= train
AGAIN ?=
CHART := helm/neurogrid
K8S = $(BIN)/neurogrid k8s
RELEASE_FLAGS = -n $(NAMESPACE) --release $(RELEASE)

.PHONY: cluster-up cluster-down images load deploy run-etl run-sample run-teacher run-train run-evaluate run-all status logs \
  dashboards bench-scale e2e undeploy

cluster-up: ## a kind cluster of three nodes
	@command -v kind >/dev/null || { echo "kind is needed: https://kind.sigs.k8s.io (or set KUBECONFIG to a cluster that you have)" >&2; exit 2; }
	kind get clusters | grep -qx $(CLUSTER) || kind create cluster --name $(CLUSTER) --config k8s/kind.yaml --wait 120s

cluster-down: ## remove the kind cluster
	kind delete cluster --name $(CLUSTER)

images: ## the image, with docker, podman or buildah, whichever is there
	BUILD="$(BUILD)" images/build $(IMAGE) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) $(BUILD_ARGS)

load: ## hand the image to the kind cluster, or to what LOAD names
	LOAD="$(LOAD)" images/load $(IMAGE)

deploy: $(CHART)/charts ## install the chart with its operator, or upgrade it
	sed 's/^  name: neurogrid$$/  name: $(NAMESPACE)/' k8s/namespaces.yaml | kubectl apply -f -
	image=$(IMAGE) && helm upgrade --install $(RELEASE) $(CHART) -n $(NAMESPACE) -f $(VALUES) --wait --timeout 5m \
	  --set image.repository="$${image%:*}" --set image.tag="$${image##*:}" \
	  --set 'spark-operator.spark.jobNamespaces={$(NAMESPACE)}' $(SET)

$(CHART)/charts: $(CHART)/Chart.yaml
	mkdir -p $@
	if [ -n "$(NEUROGRID_CHARTS)" ]; then cp "$(NEUROGRID_CHARTS)"/spark-operator-2.5.2.tgz $@; else helm dependency build $(CHART); fi
	@touch $@

run-etl run-sample run-teacher run-train run-evaluate: run-%: setup ## one job to its end, with the live table
	$(K8S) submit $* $(RELEASE_FLAGS) --follow --attach $(if $(AGAIN),--again)

run-all: run-etl run-sample run-teacher run-train run-evaluate ## all jobs, one after another
.NOTPARALLEL: run-all

status: setup ## all runs, how far they are, and what is wrong
	$(K8S) status $(RELEASE_FLAGS)

logs: setup ## what JOB says, with the live table, to its end
	$(K8S) logs --follow $(JOB) $(RELEASE_FLAGS)

dashboards: setup ## Prometheus, Grafana and the dashboards
	NAMESPACE=$(NAMESPACE) RELEASE=$(RELEASE) monitoring/install

bench-scale: setup ## round latencies with one and with two executors
	$(BIN)/python k8s/bench_scale.py --executors 1,2 $(RELEASE_FLAGS)

e2e: setup ## the tests on the cluster
	$(BIN)/python -m pytest -q -m cluster

undeploy: ## remove the release; the data stays
	helm uninstall $(RELEASE) -n $(NAMESPACE) --wait
	@echo "the data stays in claim $(RELEASE)-warehouse; to delete it: kubectl -n $(NAMESPACE) delete pvc $(RELEASE)-warehouse"
