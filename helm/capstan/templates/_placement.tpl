{{/*
Number of nodes that the replicas of a pool need, by first fit with the largest replica first. Takes `pool` and `count`,
the name of the replica count (min, initial or max). Replicas with a fraction of a GPU are first packed onto GPUs; each
such GPU is then placed like a replica with one GPU.
*/}}
{{- define "capstan.nodesNeeded" -}}
{{- $pool := .pool -}}
{{- $whole := list -}}
{{- $parts := list -}}
{{- range $model := .pool.models -}}
  {{- $cpu := include "capstan.millicpu" $model.resources.cpu | int -}}
  {{- $memory := include "capstan.bytes" ($model.resources.memory | default 0) | int64 -}}
  {{- $gpus := addf (mulf (float64 $model.gpusPerReplica) 1000.0) 0.5 | floor | int -}}
  {{- range until (get $model $.count | int) -}}
    {{- $item := printf "%06d %09d %015d" $gpus $cpu $memory -}}
    {{- if and (gt $gpus 0) (lt $gpus 1000) -}}{{- $parts = append $parts $item -}}{{- else -}}{{- $whole = append $whole $item -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $shared := include "capstan.firstFit" (dict "items" $parts "gpus" 1000 "cpu" $pool.cpu "memory" $pool.memory) | fromJsonArray -}}
{{- range $shared -}}
  {{- $whole = append $whole (printf "%06d %09d %015d" 1000 (sub $pool.cpu .cpu) (sub $pool.memory .memory)) -}}
{{- end -}}
{{- $nodes := include "capstan.firstFit" (dict "items" $whole "gpus" (mul 1000 (int $pool.gpusPerNode)) "cpu" $pool.cpu "memory" $pool.memory) | fromJsonArray -}}
{{- len $nodes -}}
{{- end -}}

{{/* First fit of "GPUS CPU MEMORY" items into bins of one size. Returns what is left in each bin, as JSON. */}}
{{- define "capstan.firstFit" -}}
{{- $bins := list -}}
{{- range $item := .items | sortAlpha | reverse -}}
  {{- $sizes := splitList " " $item -}}
  {{- $gpus := index $sizes 0 | float64 | int64 -}}
  {{- $cpu := index $sizes 1 | float64 | int64 -}}
  {{- $memory := index $sizes 2 | float64 | int64 -}}
  {{- $place := dict -}}
  {{- range $bin := $bins -}}
    {{- if and (not $place) (ge (int64 $bin.gpus) $gpus) (ge (int64 $bin.cpu) $cpu) (ge (int64 $bin.memory) $memory) -}}{{- $place = $bin -}}{{- end -}}
  {{- end -}}
  {{- if not $place -}}
    {{- $place = dict "gpus" (int64 $.gpus) "cpu" (int64 $.cpu) "memory" (int64 $.memory) -}}
    {{- $bins = append $bins $place -}}
  {{- end -}}
  {{- $_ := set $place "gpus" (sub (int64 $place.gpus) $gpus) -}}
  {{- $_ := set $place "cpu" (sub (int64 $place.cpu) $cpu) -}}
  {{- $_ := set $place "memory" (sub (int64 $place.memory) $memory) -}}
{{- end -}}
{{- toJson $bins -}}
{{- end -}}
