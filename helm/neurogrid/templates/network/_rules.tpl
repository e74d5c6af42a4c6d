{{/* Rules that several policies share. */}}

{{- define "neurogrid.network.dns" -}}
- to:
    {{- toYaml .Values.network.dns | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* The API server: the addresses given; else those that the cluster says; else, where no cluster is asked, any on its usual ports. */}}
{{- define "neurogrid.network.apiServer" -}}
{{- $cidrs := .Values.network.apiServer.cidrs -}}
{{- $ports := list -}}
{{- range .Values.network.apiServer.ports -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- if not $cidrs -}}
  {{- $slice := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" -}}
  {{- range $slice.endpoints -}}
    {{- range .addresses -}}
      {{- $cidrs = append $cidrs (printf "%s/%s" . (ternary "128" "32" (contains ":" .))) -}}
    {{- end -}}
  {{- end -}}
  {{- range $slice.ports -}}{{- $ports = append $ports (int .port) -}}{{- end -}}
{{- end -}}
- {{ with $cidrs }}to:
  {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{ end }}ports:
  {{- range $ports | uniq }}
    - {protocol: TCP, port: {{ . }}}
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
