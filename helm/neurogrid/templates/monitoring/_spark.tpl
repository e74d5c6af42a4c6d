{{/* Spark settings that monitoring needs, as `key: value` lines; part of every job's sparkConf. */}}
{{- define "neurogrid.monitoring.sparkConf" -}}
{{- end }}
