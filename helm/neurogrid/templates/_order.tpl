{{/* Jobs among each other: what each is, which one it waits for, and when its result would be another one. */}}

{{/* A job's values over those of `jobDefaults`, as JSON. Arguments: root, name. */}}
{{- define "neurogrid.job" -}}
{{- $own := deepCopy (get .root.Values.jobs .name) -}}
{{- $job := mustMergeOverwrite (deepCopy .root.Values.jobDefaults) $own -}}
{{- $_ := set $job "step" ($job.step | default .name) -}}
{{- toJson $job -}}
{{- end }}

{{/* True when the step is one of the job's: a pipeline does several, one after another. Arguments: job, step. */}}
{{- define "neurogrid.job.does" -}}
{{- if or (eq .job.step .step) (and (eq .job.step "pipeline") (has .step (list "etl" "sample" "train" "evaluate"))) -}}true{{- end -}}
{{- end }}

{{/* The job that this one comes after: jobs that are switched off are passed over. Arguments: root, name, depth. */}}
{{- define "neurogrid.after" -}}
{{- $after := (include "neurogrid.job" . | fromJson).after -}}
{{- if $after -}}
  {{- if not (hasKey .root.Values.jobs $after) -}}
    {{- fail (printf "\n\njobs.%s.after: there is no job %q\n  found: %s\n  name one of them, or leave it empty; a job that shall not run is switched off by jobs.<job>.enabled=false, and not by null" .name $after (keys .root.Values.jobs | sortAlpha | join ", ")) -}}
  {{- end -}}
  {{- if gt (int .depth) (len .root.Values.jobs) -}}
    {{- fail (printf "\n\njobs.%s.after: jobs wait for each other in a circle\n  found: %s comes after %s\n  take one `after` out of the circle" .name .name $after) -}}
  {{- end -}}
  {{- $beyond := include "neurogrid.after" (dict "root" .root "name" $after "depth" (add1 .depth)) -}}
  {{- if (include "neurogrid.job" (dict "root" .root "name" $after) | fromJson).enabled -}}{{ $after }}{{- else -}}{{ $beyond }}{{- end -}}
{{- end -}}
{{- end }}

{{/* True when a job before this one, near or far, makes a teacher. Arguments: root, name. */}}
{{- define "neurogrid.taught" -}}
{{- $after := include "neurogrid.after" (dict "root" .root "name" .name "depth" 0) -}}
{{- if $after -}}
  {{- $before := dict "root" .root "name" $after -}}
  {{- if eq (include "neurogrid.job" $before | fromJson).step "teacher" -}}true{{- else -}}{{ include "neurogrid.taught" $before }}{{- end -}}
{{- end -}}
{{- end }}

{{/* A job's config: `config`, the job's own over it, and where the release keeps things. JSON, which is YAML too and
     keeps whole numbers whole. Arguments: root, name. */}}
{{- define "neurogrid.job.config" -}}
{{- $job := include "neurogrid.job" . | fromJson -}}
{{- $config := mustMergeOverwrite (deepCopy .root.Values.config) $job.config -}}
{{- $place := dict "warehouse" (include "neurogrid.warehouse" .root) "source" (dict "path" (include "neurogrid.data.path" .root)) "backend" (dict "port" 7080 "bind_address" "0.0.0.0") -}}
{{- mustMergeOverwrite $config $place | toPrettyJson -}}
{{- end }}

{{/* Changes when the job's result may: by its config, image, data or storage, `rerun`, or a job it comes after.
     Where it runs and on how many cores changes no result, and what rounds do changes none of ETL and sampling, but for how
     many malicious agents there may be. What is made up, fetched or read from a URI shows in source.path. Arguments: root, name,
     before (the generation of the job that it comes after, where that is known already). */}}
{{- define "neurogrid.generation" -}}
{{- $job := include "neurogrid.job" . | fromJson -}}
{{- $config := include "neurogrid.job.config" . | fromJson -}}
{{- $after := include "neurogrid.after" (dict "root" .root "name" .name "depth" 0) -}}
{{- $decides := omit $config "backend" "spark" -}}
{{- if eq $job.step "etl" -}}
  {{- $decides = pick $config "source" "etl" -}}
{{- end -}}
{{- if and (include "neurogrid.job.does" (dict "job" $job "step" "etl")) (eq .root.Values.data.kind "existing") -}}
  {{- $_ := set $decides "data" (pick .root.Values.data "existingClaim" "subPath") -}}
{{- end -}}
{{- if eq $job.step "sample" -}}
  {{- $decides = pick $config "source" "etl" "sampling" "seed" -}}
  {{- $_ := set $decides "f" (list (dig "rounds" "agents_per_round" "" $config) (dig "aggregation" "byzantine_share" "" $config)) -}}
{{- end -}}
{{- $before := .before | default "" -}}
{{- if and $after (not $before) -}}{{- $before = include "neurogrid.generation" (dict "root" .root "name" $after) -}}{{- end -}}
{{- $parts := dict "step" $job.step "config" $decides "image" (include "neurogrid.image" .root) "rerun" $job.rerun "before" $before -}}
{{- $_ := set $parts "storage" (pick .root.Values.storage.s3 "endpoint" "bucket" "prefix") -}}
{{- $_ := set $parts "claim" (printf "%s/%s" (include "neurogrid.warehouse.claim" .root) .root.Values.storage.subPath) -}}
{{- $parts | toJson | sha256sum | trunc 10 -}}
{{- end }}

{{/* What the run of a job is called, which is its id in the warehouse too. Arguments: root, name. */}}
{{- define "neurogrid.run" -}}
{{ include "neurogrid.name" .root }}-{{ .name }}-{{ include "neurogrid.generation" . }}
{{- end }}
