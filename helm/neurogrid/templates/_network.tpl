{{/* Rules that several policies share. */}}

{{- define "neurogrid.network.dns" -}}
- to:
    {{- toYaml .Values.network.dns | nindent 4 }}
  ports:
  {{- range .Values.network.dnsPorts }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
{{- end }}

{{/* The API server, by its ports. Its addresses change on managed clusters, so they are pinned only where values name them. */}}
{{- define "neurogrid.network.apiServer" -}}
- {{ with .Values.network.apiServer.cidrs }}to:
  {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{ end }}ports:
  {{- range .Values.network.apiServer.ports | uniq }}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
{{- end }}

{{/* A way out to a server outside of the release. Arguments: url, and to and ports of the values. A policy sees the port
     of the pod that answers, so ports can be said where a service has another one. */}}
{{- define "neurogrid.network.server" -}}
{{- $url := urlParse .url -}}
{{- $ports := .ports -}}
{{- if not $ports -}}
  {{- $ports = list (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "80" "443" (eq $url.scheme "http"))) -}}
{{- end -}}
- {{ with .to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
  {{- range $ports }}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
{{- end }}

{{- define "neurogrid.network.storage" -}}
{{- if eq .Values.storage.kind "s3" }}
{{ include "neurogrid.network.server" (merge (dict "url" .Values.storage.s3.endpoint) .Values.network.storage) }}
{{- end }}
{{- end }}

{{/* Who may scrape. Arguments: root, port. */}}
{{- define "neurogrid.network.scrape" -}}
{{- with .root.Values.network.monitoring }}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ $.port }}}
{{- end }}
{{- end }}

{{/* What values let out of every pod of the release. */}}
{{- define "neurogrid.network.extra" -}}
{{- with .Values.network.extraEgress }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* Hosts of the Spark UIs, of jobs that are on, and of the history server, each with its service, as YAML. */}}
{{- define "neurogrid.ui.hosts" -}}
{{- range $name := keys .Values.jobs | sortAlpha }}
{{- if (include "neurogrid.job" (dict "root" $ "name" $name) | fromJson).enabled }}
{{ include "neurogrid.name" $ }}-{{ $name }}.{{ $.Values.ui.domain }}: {name: {{ include "neurogrid.name" $ }}-{{ $name }}-ui, port: 4040}
{{- end }}
{{- end }}
{{- if .Values.history.enabled }}
{{ include "neurogrid.name" . }}-history.{{ .Values.ui.domain }}: {name: {{ include "neurogrid.name" . }}-history, port: 18080}
{{- end }}
{{- end }}
