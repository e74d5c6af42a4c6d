# Targets for Kubernetes: a kind cluster made here, or whichever cluster the kubeconfig names. docs/kubernetes.md has the rest.
#
#   CONTEXT      context of the kubeconfig; without it the current one. `make where` says which that is
#   NAMESPACE, RELEASE  where the chart goes, and under which name
#   VALUES       values of the release, a file or several with commas; they win over whatever is chosen here
#   SET          further options of helm, such as SET="--set jobs.train.executor.instances=3"
#   IMAGE        name[:tag][@digest] of the image; without it `deploy` takes the one in VALUES, or, where they name none, the
#                one that `images` builds, whose tag is made of the code (images/name)
#   BUILD        command that builds it, in place of docker, podman or buildah (see images/build)
#   BUILD_ARGS   further options of the build; CUDA: "--build-arg TORCH=2.13.0+cu130 --build-arg TORCH_INDEX=<index>"
#   LOAD         how the cluster gets it: kind:<cluster>, push, none or a command (see images/load); without it the kind
#                cluster of the context
#   CLUSTER      name of the kind cluster that cluster-up makes
#   JOB          of `make logs`
#   MONITORING   values of monitoring, which `deploy` and `dashboards` both pass
#   NEUROGRID_CHARTS  folder with the operator's chart; without it helm fetches it
#   AGAIN        of `make run-...`: any text runs a job anew though it has completed with the same config

CONTEXT ?=
NAMESPACE ?= neurogrid
RELEASE ?= neurogrid
VALUES ?= k8s/values/laptop.yaml
SET ?=
IMAGE ?=
CLUSTER ?= neurogrid
LOAD ?=
JOB ?= train
MONITORING ?= monitoring/values.yaml
AGAIN ?=
CHART := helm/neurogrid
KUBECTL = kubectl $(if $(CONTEXT),--context $(CONTEXT)) -n $(NAMESPACE)
K8S = $(BIN)/neurogrid k8s
RELEASE_FLAGS = -n $(NAMESPACE) --release $(RELEASE) $(if $(CONTEXT),--context $(CONTEXT))
NAMED = NAMESPACE="$(NAMESPACE)" RELEASE="$(RELEASE)" CONTEXT="$(CONTEXT)" MONITORING="$(MONITORING)"

# What Chart.yaml says of the operator's chart: $(call operator,version) and $(call operator,repository).
operator = $(shell awk '$$2 == "name:" { ours = $$3 == "spark-operator" } ours && $$1 == "$(1):" { print $$2 }' $(CHART)/Chart.yaml)
OPERATOR := spark-operator-$(call operator,version).tgz

.PHONY: where cluster-up cluster-down images load deploy operator-chart run-etl run-sample run-teacher run-train run-evaluate run-all status \
  logs dashboards bench-scale e2e undeploy

where: ## the context and namespace that the targets below would use
	@command -v kubectl >/dev/null || { echo "kubectl is needed: https://kubernetes.io/docs/tasks/tools" >&2; exit 2; }
	@context="$(CONTEXT)"; [ -n "$$context" ] || context=$$(kubectl config current-context 2>/dev/null) || { \
	  echo "kubectl has no current context: make cluster-up, or set KUBECONFIG, or name one with CONTEXT=..." >&2; exit 2; }; \
	kubectl config get-contexts "$$context" >/dev/null 2>&1 || { \
	  echo "kubectl has no context $$context; kubectl config get-contexts -o name lists those that it has" >&2; exit 2; }; \
	echo "context $$context, namespace $(NAMESPACE), release $(RELEASE)"

cluster-up: ## a kind cluster of one node; kubectl's context is then that cluster's
	@command -v kind >/dev/null || { echo "kind is needed: https://kind.sigs.k8s.io (or set KUBECONFIG to a cluster that you have)" >&2; exit 2; }
	if kind get clusters | grep -qx $(CLUSTER); then kind export kubeconfig --name $(CLUSTER); \
	  else kind create cluster --name $(CLUSTER) --config k8s/kind.yaml --wait 120s; fi

cluster-down: ## remove the kind cluster
	kind delete cluster --name $(CLUSTER)

images: ## the image, with docker, podman or buildah, whichever is there
	BUILD="$(BUILD)" images/build $(or $(IMAGE),$$(images/name)) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) $(BUILD_ARGS)

load: ## hand the image to the cluster's nodes, or to what LOAD names
	LOAD="$(LOAD)" CONTEXT="$(CONTEXT)" images/load $(or $(IMAGE),$$(images/name))

deploy: where $(CHART)/charts/$(OPERATOR) ## install the chart with its operator, or upgrade it
	$(NAMED) VALUES="$(VALUES)" IMAGE="$(IMAGE)" k8s/deploy $(CHART) $(SET)

operator-chart: $(CHART)/charts/$(OPERATOR) ## the operator's chart, beside ours

# Needs no `helm repo add`. Fetched beside its place and moved there whole: what failed is tried again.
$(CHART)/charts/$(OPERATOR):
	rm -rf $(@D)/new && mkdir -p $(@D)/new
	if [ -n "$(NEUROGRID_CHARTS)" ]; then cp "$(NEUROGRID_CHARTS)/$(OPERATOR)" $(@D)/new; \
	  else helm pull spark-operator --repo $(call operator,repository) --version $(call operator,version) -d $(@D)/new; fi
	rm -f $(@D)/spark-operator-*.tgz && mv $(@D)/new/$(OPERATOR) $@ && rmdir $(@D)/new

run-etl run-sample run-teacher run-train run-evaluate: run-%: where $(LIGHT) ## one job to its end, with the live table
	$(K8S) submit $* $(RELEASE_FLAGS) --follow --attach $(if $(AGAIN),--again)

run-all: where $(LIGHT) ## every job that is enabled, one after another, with the live table
	$(K8S) submit --all $(RELEASE_FLAGS) --follow

status: where $(LIGHT) ## all runs, how far they are, and what is wrong
	$(K8S) status $(RELEASE_FLAGS)

logs: where $(LIGHT) ## what JOB says, with the live table, to its end
	$(K8S) logs --follow $(JOB) $(RELEASE_FLAGS)

dashboards: where $(CHART)/charts/$(OPERATOR) ## Prometheus, Grafana and the dashboards
	$(NAMED) monitoring/install

bench-scale: where $(LIGHT) ## round latencies with one and with two executors
	$(BIN)/python k8s/bench_scale.py --executors 1,2 $(RELEASE_FLAGS)

e2e: setup ## the tests on the cluster
	$(BIN)/python -m pytest -q -m cluster

undeploy: where ## remove the release; the data stays
	helm $(if $(CONTEXT),--kube-context $(CONTEXT)) uninstall $(RELEASE) -n $(NAMESPACE) --wait
	@echo "the data stays, and what else other releases may use. To delete it:"
	@$(KUBECTL) get persistentvolumeclaims -l app.kubernetes.io/instance=$(RELEASE) -o name | sed 's|^|  $(KUBECTL) delete |'
	@echo "  kubectl $(if $(CONTEXT),--context $(CONTEXT) )delete namespace $(NAMESPACE)"
	@echo "  kubectl $(if $(CONTEXT),--context $(CONTEXT) )get crd -o name | grep sparkoperator.k8s.io   # the operator's, of the whole cluster"
