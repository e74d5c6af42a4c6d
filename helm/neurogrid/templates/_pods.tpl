{{/* What every pod of the release has in common: it passes the `restricted` Pod Security Standard and writes nowhere but to volumes. */}}

{{- define "neurogrid.pod.security" -}}
runAsNonRoot: true
runAsUser: 185
runAsGroup: 185
fsGroup: 185
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
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

{{/* Which nodes a pod may run on. Arguments: root, place (nodeSelector, tolerations, priorityClassName). */}}
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
{{- if include "neurogrid.oneNode" .root }}
# A claim that one node mounts: all pods of the release gather on one node.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "neurogrid.selector" .root | nindent 12 }}
{{- end }}
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
