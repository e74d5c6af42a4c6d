{{/* What all objects and pods of a release share: names, labels, the image, where things are kept, and a pod's common parts.
     Everything of a release is called `<release>` or `<release>-<what>`. */}}

{{/* The release's name, or the one that values give it. */}}
{{- define "neurogrid.name" -}}
{{ .Values.nameOverride | default .Release.Name }}
{{- end }}

{{- define "neurogrid.selector" -}}
app.kubernetes.io/name: neurogrid
app.kubernetes.io/instance: {{ include "neurogrid.name" . | quote }}
{{- end }}

{{- define "neurogrid.labels" -}}
{{ include "neurogrid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* By digest where one is given. A tag of digits only may come as a number: --set makes an integer of it, a values file a float. */}}
{{- define "neurogrid.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if not (kindIs "string" $tag) -}}{{- $tag = int64 $tag | toString -}}{{- end -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "neurogrid.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where everything is written: a folder of the claim, or an S3 URI. */}}
{{- define "neurogrid.warehouse" -}}
{{- if eq .Values.storage.kind "s3" -}}
s3://{{ .Values.storage.s3.bucket }}{{ with .Values.storage.s3.prefix }}/{{ trimAll "/" . }}{{ end }}
{{- else -}}
/warehouse
{{- end -}}
{{- end }}

{{- define "neurogrid.warehouse.claim" -}}
{{- if eq .Values.storage.kind "existing" -}}
{{ .Values.storage.existingClaim }}
{{- else -}}
{{ include "neurogrid.name" . }}-warehouse
{{- end -}}
{{- end }}

{{/* Where the raw readings are, as a job sees them. What is made or fetched has its own folder for each set of values. */}}
{{- define "neurogrid.data.path" -}}
{{- if eq .Values.data.kind "uri" -}}
{{ .Values.data.uri }}
{{- else if eq .Values.data.kind "synthetic" -}}
/data/synthetic-{{ .Values.data.synthetic | toJson | sha256sum | trunc 8 }}
{{- else if eq .Values.data.kind "fetch" -}}
/data/fetched-{{ .Values.data.fetch.urls | toJson | sha256sum | trunc 8 }}
{{- else -}}
/data
{{- end -}}
{{- end }}

{{- define "neurogrid.data.claim" -}}
{{- if eq .Values.data.kind "existing" -}}
{{ .Values.data.existingClaim }}
{{- else if has .Values.data.kind (list "synthetic" "fetch") -}}
{{ include "neurogrid.name" . }}-data
{{- end -}}
{{- end }}

{{/* How the claim of what is made or fetched is mounted: as the warehouse's, unless it says otherwise. */}}
{{- define "neurogrid.data.accessMode" -}}
{{ .Values.data.claim.accessMode | default .Values.storage.claim.accessMode }}
{{- end }}

{{/* True when some claim of the release can be mounted on one node only, so that its pods have to gather there. */}}
{{- define "neurogrid.oneNode" -}}
{{- if and (ne .Values.storage.kind "s3") (eq .Values.storage.claim.accessMode "ReadWriteOnce") -}}true
{{- else if and (has .Values.data.kind (list "synthetic" "fetch")) (eq (include "neurogrid.data.accessMode" .) "ReadWriteOnce") -}}true
{{- end -}}
{{- end }}

{{/* The storage class of a claim; "-" is none at all, for volumes that somebody made by hand. Argument: its name. */}}
{{- define "neurogrid.storageClass" -}}
{{- if . -}}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end -}}
{{- end }}

{{/* Every pod passes the `restricted` Pod Security Standard and writes nowhere but to volumes. */}}
{{- define "neurogrid.pod.security" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- with .Values.podSecurityContext }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "neurogrid.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Where and how a pod may run. Arguments: root, place (its values), apart (true where it mounts no claim of the release). */}}
{{- define "neurogrid.pod.place" -}}
{{- with .place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .place.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- $affinity := deepCopy (.place.affinity | default dict) }}
{{- if and (include "neurogrid.oneNode" .root) (not .apart) }}
{{- /* A claim that one node mounts: all pods of the release gather on one node. */}}
{{- $others := dict "labelSelector" (dict "matchLabels" (include "neurogrid.selector" .root | fromYaml)) "topologyKey" "kubernetes.io/hostname" }}
{{- $required := append (dig "podAffinity" "requiredDuringSchedulingIgnoredDuringExecution" list $affinity) $others }}
{{- $affinity = merge (dict "podAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" $required)) $affinity }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels that values add to a pod. Arguments: root, place. */}}
{{- define "neurogrid.pod.labels" -}}
{{- with merge (dict) (.place.labels | default dict) .root.Values.commonLabels -}}
{{ toYaml . }}
{{- end -}}
{{- end }}

{{/* The metadata of a pod that is not Spark's. Arguments: root, place, component, annotations (a mapping), apart. A pod apart has a
     name of its own in its labels, so that nothing has to gather where it runs. */}}
{{- define "neurogrid.pod.metadata" -}}
labels:
  {{- if .apart }}
  app.kubernetes.io/name: neurogrid-{{ .component }}
  app.kubernetes.io/instance: {{ include "neurogrid.name" .root | quote }}
  {{- else }}
  {{- include "neurogrid.selector" .root | nindent 2 }}
  {{- end }}
  app.kubernetes.io/component: {{ .component }}
  {{- with include "neurogrid.pod.labels" . }}
  {{- . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.place.annotations | default dict) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A pod that is not Spark's, but for its containers. Arguments: root, place, account (driver, executor, exporter...),
     token (whether it talks to the API server), apart (true where it needs neither warehouse nor object store). */}}
{{- define "neurogrid.pod.spec" -}}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false
serviceAccountName: {{ include "neurogrid.name" .root }}-{{ .account }}
securityContext:
  {{- include "neurogrid.pod.security" .root | nindent 2 }}
{{- include "neurogrid.pullSecrets" .root }}
{{- include "neurogrid.pod.place" . }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- if not .apart }}
  {{- include "neurogrid.warehouse.volume" .root | nindent 2 }}
  {{- end }}
  {{- with .place.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The container of such a pod, but for its command and probes. Arguments: root, place, apart, events (true mounts the folder
     of Spark's event logs in place of the whole warehouse). */}}
{{- define "neurogrid.pod.container" -}}
image: {{ include "neurogrid.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- $env := list }}
{{- if not .apart }}
{{- $env = include "neurogrid.storage.env" .root | fromYamlArray }}
{{- with include "neurogrid.storage.envFrom" .root }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- with concat $env (.place.env | default list) }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .place.resources | nindent 2 }}
securityContext:
  {{- include "neurogrid.container.security" .root | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .events }}
  {{- include "neurogrid.events.mount" .root | nindent 2 }}
  {{- else if and (ne .root.Values.storage.kind "s3") (not .apart) }}
  {{- include "neurogrid.warehouse.mount" .root | nindent 2 }}
    readOnly: true
  {{- end }}
  {{- with .place.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Annotations of a service account: those of all accounts, and its own over them. Arguments: root, account. */}}
{{- define "neurogrid.account.annotations" -}}
{{- with merge (dict) (get .root.Values.serviceAccounts .account | default dict).annotations .root.Values.serviceAccountAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{/* Credentials and address of the object store, where there is one. */}}
{{- define "neurogrid.storage.env" -}}
{{- if eq .Values.storage.kind "s3" }}
{{- with .Values.storage.s3.endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
- name: AWS_REGION
  value: {{ .Values.storage.s3.region | quote }}
- name: AWS_EC2_METADATA_DISABLED
  value: {{ ne .Values.storage.s3.secret "" | quote }}
{{- end }}
{{- end }}

{{- define "neurogrid.storage.envFrom" -}}
{{- if and (eq .Values.storage.kind "s3") .Values.storage.s3.secret }}
- secretRef:
    name: {{ .Values.storage.s3.secret | quote }}
{{- end }}
{{- end }}

{{- define "neurogrid.warehouse.mount" -}}
{{- if ne .Values.storage.kind "s3" }}
- name: warehouse
  mountPath: /warehouse
{{- with .Values.storage.subPath }}
  subPath: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "neurogrid.warehouse.volume" -}}
{{- if ne .Values.storage.kind "s3" }}
- name: warehouse
  persistentVolumeClaim:
    claimName: {{ include "neurogrid.warehouse.claim" . | quote }}
{{- end }}
{{- end }}

{{/* The folder of the warehouse's claim that has Spark's event logs. */}}
{{- define "neurogrid.events.mount" -}}
- name: warehouse
  mountPath: /spark-events
  subPath: {{ printf "%s/spark-events" .Values.storage.subPath | trimAll "/" | quote }}
{{- end }}

{{/* What `neurogrid k8s` asks the API server for (neurogrid/cluster/api.py). */}}
{{- define "neurogrid.user.rules" -}}
- apiGroups: [sparkoperator.k8s.io]
  resources: [sparkapplications]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
