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

{{- define "neurogrid.network.storage" -}}
{{- if eq .Values.storage.kind "s3" }}
- {{ with .Values.network.storage.to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
  {{- range .Values.network.storage.ports }}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
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
