{{/* Refuses an operator of the release where another one already submits the jobs of a namespace: both would submit each of them.
     Only an install that talks to a cluster can know. */}}
{{- define "neurogrid.operator.alone" -}}
{{- $ours := index .Values "spark-operator" "spark" "jobNamespaces" | default (list "") -}}
{{- range (lookup "apps/v1" "Deployment" "" "").items -}}
  {{- $labels := .metadata.labels | default dict -}}
  {{- $own := and (eq .metadata.namespace $.Release.Namespace) (eq (index $labels "app.kubernetes.io/instance" | default "") $.Release.Name) -}}
  {{- if and (eq (index $labels "app.kubernetes.io/name" | default "") "spark-operator") (not $own) -}}
    {{- $deployment := printf "%s/%s" .metadata.namespace .metadata.name -}}
    {{- range .spec.template.spec.containers -}}
      {{- $theirs := include "neurogrid.operator.namespaces" . | fromJsonArray -}}
      {{- range $namespace := $ours -}}
        {{- if or (has $namespace $theirs) (has "" $theirs) (and (eq $namespace "") $theirs) -}}
          {{- fail (printf "\n\nanother Spark operator is in the cluster already, and both would submit the jobs of namespace %s\n  found: deployment %s, which watches %s\n  set spark-operator.enabled=false to use that one, or take the namespace out of its namespaces" ($namespace | default $.Release.Namespace) $deployment (ternary "every namespace" (join ", " $theirs) (has "" $theirs))) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The namespaces that an operator's container watches, as a JSON array; "" is all. The argument: the container. */}}
{{- define "neurogrid.operator.namespaces" -}}
{{- $found := list -}}
{{- if has "controller" (.args | default list) -}}
  {{- $named := "" -}}
  {{- range .args -}}{{- if hasPrefix "--namespaces=" . -}}{{- $named = trimPrefix "--namespaces=" . | replace "\"" "" -}}{{- end -}}{{- end -}}
  {{- $found = splitList "," $named -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}
