{{/*
The models, with every left-out key filled in, as JSON: {KEY: {...}}. Beside the values each has `key`, `route`,
`pool`, `fewest` and `most` (replicas).
*/}}
{{- define "capstan.models" -}}
{{- $defaults := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- $given := .Values.models | default (dict "embedded" (dict "gpusPerReplica" 0)) -}}
{{- $pools := keys (include "capstan.givenPools" . | fromJson) | sortAlpha -}}
{{- $models := dict -}}
{{- $routes := dict -}}
{{- range $key := keys $given | sortAlpha -}}
  {{- $model := set (deepCopy (get $given $key | default dict)) "key" $key -}}
  {{- include "capstan.complete" (dict "given" $model "defaults" (deepCopy $defaults.models)) -}}
  {{- $at := printf "models.%s" $key -}}
  {{- $route := $model.routePrefix | default (ternary "/" (printf "/%s" $key) (eq (len $given) 1)) -}}
  {{- if hasKey $routes $route -}}
    {{- fail (printf "models.%s and %s both have the routePrefix %q; change %s.routePrefix." (get $routes $route) $at $route $at) -}}
  {{- end -}}
  {{- $_ := set $routes $route $key -}}
  {{- $_ := set $model "route" $route -}}
  {{- $_ := set $model "pool" (include "capstan.poolOf" (dict "model" $model "pools" $pools "at" $at)) -}}
  {{- include "capstan.scale" (dict "model" $model "defaults" $defaults.autoscaling "at" $at) -}}
  {{- include "capstan.checkModel" (dict "model" $model "root" $ "at" $at) -}}
  {{- $_ := set $models $key $model -}}
{{- end -}}
{{- toJson $models -}}
{{- end -}}

{{/* The key of a model's pool. */}}
{{- define "capstan.poolOf" -}}
{{- $known := join ", " .pools | default "none" -}}
{{- if .model.nodePool -}}
  {{- if not (has .model.nodePool .pools) -}}
    {{- fail (printf "%s.nodePool is %q, which is not in nodePools (there: %s); add nodePools.%s or change %s.nodePool." .at .model.nodePool $known .model.nodePool .at) -}}
  {{- end -}}
  {{- .model.nodePool -}}
{{- else if eq (len .pools) 1 -}}
  {{- first .pools -}}
{{- else if not .pools -}}
  {{- fail (printf "%s has no node pool, as nodePools is empty; add one, such as nodePools: {gpu: {gpusPerNode: 1}}." .at) -}}
{{- else -}}
  {{- fail (printf "%s has no node pool and there are %d; set %s.nodePool to one of: %s." .at (len .pools) .at $known) -}}
{{- end -}}
{{- end -}}

{{/* Sets a model's `fewest` and `most`, and fills in its autoscaling. */}}
{{- define "capstan.scale" -}}
{{- $model := .model -}}
{{- if $model.autoscaling -}}
  {{- if $model.replicas -}}
    {{- fail (printf "%s has both replicas (%d) and autoscaling (maxReplicas %d); remove %s.replicas or %s.autoscaling." .at (int $model.replicas) (int $model.autoscaling.maxReplicas) .at .at) -}}
  {{- end -}}
  {{- $scaling := deepCopy $model.autoscaling -}}
  {{- include "capstan.complete" (dict "given" $scaling "defaults" .defaults) -}}
  {{- $fewest := int $scaling.minReplicas -}}
  {{- $most := int $scaling.maxReplicas -}}
  {{- if gt $fewest $most -}}
    {{- fail (printf "%s.autoscaling.minReplicas is %d and maxReplicas is %d; lower %s.autoscaling.minReplicas or raise %s.autoscaling.maxReplicas." .at $fewest $most .at .at) -}}
  {{- end -}}
  {{- $first := int (kindIs "invalid" $scaling.initialReplicas | ternary $fewest $scaling.initialReplicas) -}}
  {{- if or (lt $first $fewest) (gt $first $most) -}}
    {{- fail (printf "%s.autoscaling.initialReplicas is %d and must be from minReplicas (%d) to maxReplicas (%d); change %s.autoscaling.initialReplicas." .at $first $fewest $most .at) -}}
  {{- end -}}
  {{- $_ := set $model "autoscaling" $scaling -}}
  {{- $_ := set $model "fewest" $fewest -}}
  {{- $_ := set $model "first" $first -}}
  {{- $_ := set $model "most" $most -}}
{{- else -}}
  {{- $count := int ($model.replicas | default 1) -}}
  {{- $_ := set $model "fewest" $count -}}
  {{- $_ := set $model "first" $count -}}
  {{- $_ := set $model "most" $count -}}
{{- end -}}
{{- end -}}

{{/* What holds for one model alone. */}}
{{- define "capstan.checkModel" -}}
{{- $gpus := float64 .model.gpusPerReplica -}}
{{- if and (gt $gpus 1.0) (ne $gpus (floor $gpus)) -}}
  {{- fail (printf "%s.gpusPerReplica is %v; it must be a fraction below 1 or a whole number." .at .model.gpusPerReplica) -}}
{{- end -}}
{{- $limit := float64 .root.Values.serve.requestTimeoutSeconds -}}
{{- $own := float64 (.model.settings.request_timeout | default 300) -}}
{{- if ge $own $limit -}}
  {{- fail (printf "%s.settings.request_timeout is %v seconds and serve.requestTimeoutSeconds is %v; the proxy must wait longer than the model: raise serve.requestTimeoutSeconds or lower %s.settings.request_timeout." .at $own $limit .at) -}}
{{- end -}}
{{- if and .model.autoscaling (eq .model.fewest 0) (not .root.Values.head.servesTraffic) -}}
  {{- fail (printf "%s.autoscaling.minReplicas is 0 and head.servesTraffic is false, so no pod would take the first request; set head.servesTraffic to true or %s.autoscaling.minReplicas to 1." .at .at) -}}
{{- end -}}
{{- if and .model.revision (or (eq .model.source "embedded") (hasPrefix "/" .model.source)) -}}
  {{- fail (printf "%s.revision is %q, and its source %q has no revisions; remove %s.revision or set %s.source to a hub id." .at .model.revision .model.source .at .at) -}}
{{- end -}}
{{- end -}}
