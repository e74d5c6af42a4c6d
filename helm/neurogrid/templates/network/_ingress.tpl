{{/* A way in for browsers, to one service. Arguments: root, name (also of the host), service, port, labels (a mapping). */}}
{{- define "neurogrid.ingress" -}}
{{- $ingress := .root.Values.ui.ingress -}}
{{- $host := printf "%s.%s" .name $ingress.domain -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "neurogrid.labels" .root | nindent 4 }}
    {{- toYaml .labels | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with $ingress.tlsSecret }}
  tls:
    - hosts: [{{ $host | quote }}]
      secretName: {{ . | quote }}
  {{- end }}
  rules:
    - host: {{ $host }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ .service }}
                port:
                  number: {{ .port }}
{{- end }}
