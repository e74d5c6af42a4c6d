{{/* One SparkApplication for every job of `.Values.jobs`; what differs between jobs is values. */}}

{{- define "neurogrid.job.labels" -}}
{{ include "neurogrid.selector" .root }}
app.kubernetes.io/component: job
neurogrid.io/job: {{ .name }}
{{- end }}

{{/* What a job's pods know of it. Arguments: root, name, job. */}}
{{- define "neurogrid.job.env" -}}
{{- $after := include "neurogrid.after" (dict "root" .root "name" .name "depth" 0) -}}
{{- $before := "" -}}
{{- if $after -}}{{- $before = include "neurogrid.generation" (dict "root" .root "name" $after) -}}{{- end -}}
- name: NEUROGRID_RELEASE
  value: {{ include "neurogrid.name" .root | quote }}
- name: NEUROGRID_JOB
  value: {{ .name | quote }}
- name: NEUROGRID_GENERATION
  value: {{ include "neurogrid.generation" (dict "root" .root "name" .name "before" $before) | quote }}
- name: NEUROGRID_AFTER
  value: {{ $after | quote }}
- name: NEUROGRID_AFTER_GENERATION
  value: {{ $before | quote }}
- name: NEUROGRID_SCHEDULED
  value: {{ ne .job.schedule "" | quote }}
- name: NEUROGRID_APPLICATION
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['sparkoperator.k8s.io/app-name']
{{- end }}

{{/* Where the job's driver sends traces; only a training has any. Arguments: root, job. */}}
{{- define "neurogrid.job.traces" -}}
{{- if include "neurogrid.job.does" (dict "job" .job "step" "train") -}}{{ .root.Values.tracing.endpoint }}{{- end -}}
{{- end }}

{{- define "neurogrid.job.mounts" -}}
- name: config
  mountPath: /etc/neurogrid
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: work
  mountPath: /opt/spark/work-dir
{{- include "neurogrid.warehouse.mount" .root }}
{{- if and (include "neurogrid.job.does" (dict "job" .job "step" "etl")) (include "neurogrid.data.claim" .root) }}
- name: data
  mountPath: /data
  readOnly: true
{{- with .root.Values.data.subPath }}
  subPath: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "neurogrid.job.volumes" -}}
- name: config
  configMap:
    name: {{ include "neurogrid.name" .root }}-{{ .name }}-config
- name: tmp
  emptyDir: {}
- name: work
  emptyDir: {}
{{- include "neurogrid.warehouse.volume" .root }}
{{- if include "neurogrid.job.does" (dict "job" .job "step" "etl") }}
{{- with include "neurogrid.data.claim" .root }}
- name: data
  persistentVolumeClaim:
    claimName: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Makes or fetches the raw readings before the ETL's driver starts; does nothing where they are there already. */}}
{{- define "neurogrid.job.data" -}}
{{- if and (include "neurogrid.job.does" (dict "job" .job "step" "etl")) (has .root.Values.data.kind (list "synthetic" "fetch")) }}
initContainers:
  - name: data
    image: {{ include "neurogrid.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [tini, --, neurogrid]
    args:
    {{- if eq .root.Values.data.kind "synthetic" }}
    {{- with .root.Values.data.synthetic }}
      - synth
      - {{ include "neurogrid.data.path" $.root }}
      - --if-missing
      - --households={{ int .households }}
      - --stations={{ int .stations }}
      - --days={{ int .days }}
      - --seed={{ int .seed }}
    {{- end }}
    {{- else }}
      - fetch
      - {{ include "neurogrid.data.path" .root }}
      - --if-missing
    {{- range .root.Values.data.fetch.urls }}
      - {{ . | quote }}
    {{- end }}
    {{- end }}
    {{- with include "neurogrid.storage.envFrom" .root }}
    envFrom:
      {{- . | nindent 6 }}
    {{- end }}
    {{- with concat (include "neurogrid.storage.env" .root | fromYamlArray) .job.env }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml .root.Values.data.resources | nindent 6 }}
    securityContext:
      {{- include "neurogrid.container.security" .root | nindent 6 }}
    volumeMounts:
      - name: data
        mountPath: /data
      - name: tmp
        mountPath: /tmp
      {{- with .place.volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end }}
{{- end }}

{{/* The pod template of one role. Arguments: root, name, job, env (what both roles know), role (driver or executor), place (its
     values). */}}
{{- define "neurogrid.job.pod" -}}
metadata:
  labels:
    {{- include "neurogrid.job.labels" . | nindent 4 }}
    {{- with include "neurogrid.pod.labels" . }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- $scraped := dict }}
  {{- if eq .role "driver" }}
  {{- $scraped = include "neurogrid.monitoring.annotations" (dict "root" .root "port" 4040 "path" "/metrics/executors/prometheus") | fromYaml }}
  {{- end }}
  {{- with merge (dict) (.place.annotations | default dict) $scraped }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  securityContext:
    {{- include "neurogrid.pod.security" .root | nindent 4 }}
  automountServiceAccountToken: {{ eq .role "driver" }}
  enableServiceLinks: false
  {{- with include "neurogrid.pod.place" (dict "root" .root "place" .place) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if and (eq .role "executor") .job.spread.topologyKey }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: {{ .job.spread.topologyKey | quote }}
      whenUnsatisfiable: {{ .job.spread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "neurogrid.job.labels" . | nindent 10 }}
          spark-role: executor
  {{- end }}
  {{- if eq .role "driver" }}
  {{- include "neurogrid.job.data" . | nindent 2 }}
  {{- end }}
  containers:
    - name: spark-kubernetes-{{ .role }}
      securityContext:
        {{- include "neurogrid.container.security" .root | nindent 8 }}
      env:
        {{- .env | nindent 8 }}
        {{- include "neurogrid.storage.env" .root | nindent 8 }}
        {{- if eq .role "driver" }}
        {{- with include "neurogrid.job.traces" . }}
        - name: OTEL_EXPORTER_OTLP_ENDPOINT
          value: {{ . | quote }}
        {{- end }}
        {{- end }}
        {{- with .job.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with include "neurogrid.storage.envFrom" .root }}
      envFrom:
        {{- . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- include "neurogrid.job.mounts" . | nindent 8 }}
        {{- if and (eq .role "driver") .root.Values.history.enabled }}
        {{- include "neurogrid.events.mount" .root | nindent 8 }}
        {{- end }}
        {{- with .place.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "neurogrid.job.volumes" . | nindent 4 }}
    {{- with .place.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* What Spark is set to and nobody may set otherwise: NetworkPolicies know the ports, and the refusals how many slots there are.
     What is empty here is left to Spark (the secret) or to values of the job; neurogrid/cluster/application.py has the same names. */}}
{{- define "neurogrid.job.locked" -}}
spark.driver.port: "7078"
spark.driver.blockManager.port: "7079"
spark.blockManager.port: "7079"
spark.ui.port: "4040"
spark.task.cpus: "1"
spark.executor.cores: ""
spark.executor.instances: ""
spark.dynamicAllocation.enabled: ""
spark.authenticate: "true"
spark.authenticate.secret: ""
spark.network.crypto.enabled: "true"
spark.network.crypto.cipher: AES/GCM/NoPadding
spark.io.encryption.enabled: "true"
{{- end }}

{{- define "neurogrid.job.sparkConf" -}}
{{- $conf := dict
  "spark.ui.enabled" "true"
  "spark.ui.prometheus.enabled" "true"
  "spark.executor.processTreeMetrics.enabled" "true"
  "spark.metrics.namespace" "neurogrid"
  "spark.metrics.conf.*.sink.prometheusServlet.class" "org.apache.spark.metrics.sink.PrometheusServlet"
  "spark.metrics.conf.*.sink.prometheusServlet.path" "/metrics/prometheus"
  "spark.decommission.enabled" "true"
  "spark.kubernetes.driver.pod.excludedFeatureSteps" "org.apache.spark.deploy.k8s.features.NetworkPolicyFeatureStep"
  "spark.kubernetes.executor.enableApiPolling" "true"
  "spark.kubernetes.executor.apiPollingInterval" "5s"
  "spark.kubernetes.executor.missingPodDetectDelta" "10s"
  "spark.kubernetes.executor.checkAllContainers" "true"
  "spark.kubernetes.allocation.batch.delay" "1s"
  "spark.kubernetes.submission.connectionTimeout" "60000"
  "spark.kubernetes.submission.requestTimeout" "60000"
  "spark.kubernetes.driver.connectionTimeout" "60000"
  "spark.kubernetes.driver.requestTimeout" "60000"
  "spark.executor.heartbeatInterval" "5s"
  "spark.executor.failuresValidityInterval" "10m"
  "spark.network.timeout" "60s"
-}}
{{- if .root.Values.history.enabled -}}
{{- $_ := set $conf "spark.eventLog.enabled" "true" -}}
{{- $_ := set $conf "spark.eventLog.dir" "file:///spark-events" -}}
{{- end -}}
{{- with .job.executor.gpu -}}
{{- if .quantity -}}
{{- /* Spark asks for them itself: the operator's own field needs its webhook. */ -}}
{{- $_ := set $conf "spark.executor.resource.gpu.amount" (int .quantity | toString) -}}
{{- $_ := set $conf "spark.executor.resource.gpu.vendor" (dir .name) -}}
{{- $_ := set $conf "spark.executor.resource.gpu.discoveryScript" "/opt/gpus.sh" -}}
{{- $_ := set $conf "spark.task.resource.gpu.amount" "1" -}}
{{- end -}}
{{- end -}}
{{- range $key, $ours := include "neurogrid.job.locked" .root | fromYaml -}}{{- if $ours -}}{{- $_ := set $conf $key $ours -}}{{- end -}}{{- end -}}
{{- mustMergeOverwrite $conf .job.sparkConf | toYaml -}}
{{- end }}

{{/* One role's cores and memory. Argument: its values. */}}
{{- define "neurogrid.job.resources" -}}
cores: {{ int .cores }}
{{- with .coreRequest }}
coreRequest: {{ . | quote }}
{{- end }}
{{- with .coreLimit }}
coreLimit: {{ . | quote }}
{{- end }}
memory: {{ include "neurogrid.memory" .memory | quote }}
memoryOverhead: {{ include "neurogrid.memory" .memoryOverhead | quote }}
{{- end }}

{{/* Memory in Spark's words: 2Gi is its 2g, and 1.5g, which it does not take, is 1536m. Argument: the value. */}}
{{- define "neurogrid.memory" -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $unit := trimPrefix $number . | trimSuffix "i" | lower -}}
{{- if contains "." $number -}}
{{- mulf (float64 $number) 1024 | floor | int64 -}}{{- get (dict "t" "g" "g" "m" "m" "k") $unit -}}
{{- else -}}
{{- $number -}}{{- $unit -}}
{{- end -}}
{{- end }}

{{/* The spec of a job's SparkApplication. Arguments: root, name. */}}
{{- define "neurogrid.job.spec" -}}
{{- $job := include "neurogrid.job" . | fromJson -}}
{{- $with := dict "root" .root "name" .name "job" $job -}}
{{- $_ := set $with "env" (include "neurogrid.job.env" $with) -}}
type: Python
pythonVersion: "3"
mode: cluster
sparkVersion: "4.3.0"
image: {{ include "neurogrid.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
mainApplicationFile: local:///opt/neurogrid/jobs/{{ $job.step }}.py
restartPolicy:
  type: OnFailure
  onFailureRetries: {{ int $job.restart.retries }}
  onFailureRetryInterval: {{ int $job.restart.intervalSeconds }}
  onSubmissionFailureRetries: {{ int $job.restart.retries }}
  onSubmissionFailureRetryInterval: {{ int $job.restart.intervalSeconds }}
{{- if $job.timeToLiveSeconds }}
timeToLiveSeconds: {{ int $job.timeToLiveSeconds }}
{{- end }}
sparkConf:
  {{- include "neurogrid.job.sparkConf" $with | nindent 2 }}
{{- if $job.dynamicAllocation.enabled }}
dynamicAllocation:
  enabled: true
  initialExecutors: {{ int $job.executor.instances }}
  minExecutors: {{ int $job.dynamicAllocation.minExecutors }}
  maxExecutors: {{ int $job.dynamicAllocation.maxExecutors }}
{{- end }}
driver:
  {{- include "neurogrid.job.resources" $job.driver | nindent 2 }}
  serviceAccount: {{ include "neurogrid.name" .root }}-driver
  labels:
    {{- include "neurogrid.job.labels" $with | nindent 4 }}
  template:
    {{- include "neurogrid.job.pod" (merge (dict "role" "driver" "place" $job.driver) $with) | nindent 4 }}
executor:
  instances: {{ int $job.executor.instances }}
  {{- include "neurogrid.job.resources" $job.executor | nindent 2 }}
  serviceAccount: {{ include "neurogrid.name" .root }}-executor
  labels:
    {{- include "neurogrid.job.labels" $with | nindent 4 }}
  template:
    {{- include "neurogrid.job.pod" (merge (dict "role" "executor" "place" $job.executor) $with) | nindent 4 }}
{{- end }}

{{/* A job's whole SparkApplication, as `neurogrid k8s submit` takes it from the ConfigMap of jobs. Helm installs none itself: it
     would put back `suspend` at each upgrade. Arguments: root, name. */}}
{{- define "neurogrid.job.application" -}}
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata:
  name: {{ include "neurogrid.name" .root }}-{{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "neurogrid.job.labels" . | nindent 4 }}
    {{- omit (include "neurogrid.labels" .root | fromYaml) "app.kubernetes.io/name" "app.kubernetes.io/instance" | toYaml | nindent 4 }}
  {{- $job := include "neurogrid.job" . | fromJson }}
  {{- $notes := dict }}
  {{- if and $job.enabled (not $job.schedule) }}{{- $_ := set $notes "neurogrid.io/enabled" "true" }}{{- end }}
  {{- with .root.Values.queue }}{{- $_ := set $notes "neurogrid.io/queue" . }}{{- end }}
  {{- with $notes }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "neurogrid.job.spec" . | nindent 2 }}
{{- end }}
