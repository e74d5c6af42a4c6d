{{- /* Refuses pairs of config keys that the driver would refuse (neurogrid/config), before anything is made.
       Takes job, its name, config, whole, and learns, whether it trains without a job before it that makes a teacher. */}}
{{- define "neurogrid.config.pairs" }}
{{- $config := .config }}
{{- $asked := min (int $config.rounds.agents_per_round) (int $config.sampling.agents) }}
{{- $f := floor (addf (mulf $config.aggregation.byzantine_share $asked) 1e-9) | int }}
{{- $needed := add (mul 2 $f) 3 }}
{{- $rule := $config.aggregation.rule }}
{{- if and (has $rule (list "trimmed_mean" "nnm_trimmed_mean")) (eq $f 0) }}
{{- fail (printf "\n\njobs.%s: the rule %s would trim nobody\n  found: aggregation.byzantine_share %v of %d agents a round is f = 0\n  raise it, or set config.aggregation.rule to mean" .job $rule $config.aggregation.byzantine_share $asked) }}
{{- end }}
{{- if and (ne $rule "mean") (lt $asked $needed) }}
{{- fail (printf "\n\njobs.%s: too few agents a round for the rule %s, which needs 2f + 3 of them\n  found: %d agents, f = %d, 2f + 3 = %d\n  lower config.aggregation.byzantine_share, or raise config.rounds.agents_per_round and config.sampling.agents" .job $rule $asked $f $needed) }}
{{- end }}
{{- if and .learns $config.local.distill_weight (not $config.rounds.teacher) }}
{{- fail (printf "\n\njobs.%s: config.local.distill_weight needs a teacher to learn from\n  found: %v, config.rounds.teacher is empty, and no enabled job before this one has the step teacher\n  set jobs.teacher.enabled=true, name one in config.rounds.teacher, or set config.local.distill_weight to 0" .job $config.local.distill_weight) }}
{{- end }}
{{- if gt (int $config.rounds.min_agents) $asked }}
{{- fail (printf "\n\njobs.%s: a round would never have enough agents\n  found: config.rounds.min_agents %d, %d agents a round\n  lower it" .job (int $config.rounds.min_agents) $asked) }}
{{- end }}
{{- if gt (int $config.sampling.districts) (int $config.sampling.agents) }}
{{- fail (printf "\n\njobs.%s: more districts than agents\n  found: config.sampling.districts %d, config.sampling.agents %d\n  change one of them" .job (int $config.sampling.districts) (int $config.sampling.agents)) }}
{{- end }}
{{- if ge (addf $config.etl.train_share $config.etl.validation_share) 1.0 }}
{{- fail (printf "\n\njobs.%s: no time is left to test on\n  found: config.etl.train_share %v and config.etl.validation_share %v\n  their sum has to be below 1" .job $config.etl.train_share $config.etl.validation_share) }}
{{- end }}
{{- end }}
