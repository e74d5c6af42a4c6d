{{/* `true` where the objects of the Prometheus operator are made. Pods carry plain scrape annotations in any case. */}}
{{- define "neurogrid.monitoring.operator" -}}
{{- $there := .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}
{{- if or (eq .Values.monitoring.operator "always") (and (eq .Values.monitoring.operator "auto") $there) -}}
true
{{- end -}}
{{- end }}

{{/*
Annotations of a pod that is scraped. Arguments: root, port, path. They stay beside monitors, which choose by labels: without
them, switching monitors on would change every job's pods and so run every job anew.
*/}}
{{- define "neurogrid.monitoring.annotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: {{ .path }}
{{- end }}

{{/* What makes a dashboard's uid this release's own: Grafana refuses one uid of two files. */}}
{{- define "neurogrid.monitoring.own" -}}
{{- printf "%s/%s" .Release.Namespace (include "neurogrid.name" .) | sha256sum | trunc 10 -}}
{{- end }}

{{/* Dashboards, or links to them, with the uids of this release. Arguments: root, text. */}}
{{- define "neurogrid.monitoring.uids" -}}
{{- $own := include "neurogrid.monitoring.own" .root -}}
{{- regexReplaceAll `("uid": "|/d/)(neurogrid-[a-z]+)` .text (printf "${1}${2}-%s" $own) -}}
{{- end }}

{{/* Labels of monitors and rules: ours, and those by which a Prometheus chooses its own. */}}
{{- define "neurogrid.monitoring.labels" -}}
{{ include "neurogrid.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
