{{/* Names and labels. Everything of a release is called `<release>` or `<release>-<what>`. */}}

{{- define "neurogrid.selector" -}}
app.kubernetes.io/name: neurogrid
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "neurogrid.labels" -}}
{{ include "neurogrid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "neurogrid.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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
{{ .Release.Name }}-warehouse
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
{{ .Release.Name }}-data
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
