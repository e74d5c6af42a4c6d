{{/* `true` where the objects of the Prometheus operator are made; else pods carry plain scrape annotations. */}}
{{- define "neurogrid.monitoring.operator" -}}
{{- $there := .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}
{{- if or (eq .Values.monitoring.operator "always") (and (eq .Values.monitoring.operator "auto") $there) -}}
true
{{- end -}}
{{- end }}

{{/* Annotations of a pod that is scraped, where no monitor finds it. Arguments: root, port, path. */}}
{{- define "neurogrid.monitoring.annotations" -}}
{{- if not (include "neurogrid.monitoring.operator" .root) -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: {{ .path }}
{{- end -}}
{{- end }}

{{/* Labels of monitors and rules: ours, and those by which a Prometheus chooses its own. */}}
{{- define "neurogrid.monitoring.labels" -}}
{{ include "neurogrid.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
