{{/*
The models with all defaults filled in, as JSON: {KEY: {...}}. In addition to its values each has `key`, `route`,
`pool`, the replica counts `min`, `initial` and `max`, and `size`: what one replica takes of a pod (_placement.tpl).
*/}}
{{- define "capstan.models" -}}
{{- $defaults := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- $given := .Values.models | default (dict "embedded" (dict "gpusPerReplica" 0 "resources" (dict "memory" "1Gi"))) -}}
{{- $pools := keys (include "capstan.givenPools" . | fromJson) | sortAlpha -}}
{{- $models := dict -}}
{{- $routes := dict -}}
{{- range $key := keys $given | sortAlpha -}}
  {{- $model := set (deepCopy (get $given $key | default dict)) "key" $key -}}
  {{- include "capstan.fillDefaults" (dict "given" $model "defaults" (deepCopy $defaults.models)) -}}
  {{- $path := printf "models.%s" $key -}}
  {{- $route := $model.routePrefix | default (ternary "/" (printf "/%s" $key) (eq (len $given) 1)) -}}
  {{- if hasKey $routes $route -}}
    {{- fail (printf "models.%s and %s both have the routePrefix %q. Change %s.routePrefix." (get $routes $route) $path $route $path) -}}
  {{- end -}}
  {{- $_ := set $routes $route $key -}}
  {{- $_ := set $model "route" $route -}}
  {{- $_ := set $model "pool" (include "capstan.modelPool" (dict "model" $model "pools" $pools "path" $path)) -}}
  {{- include "capstan.setReplicaCounts" (dict "model" $model "defaults" $defaults.autoscaling "path" $path) -}}
  {{- include "capstan.checkModel" (dict "model" $model "root" $ "path" $path) -}}
  {{- $gpu := addf (mulf $model.gpusPerReplica 1000.0) 0.5 | floor | int64 -}}
  {{- $cpu := include "capstan.millicpu" $model.resources.cpu | int64 -}}
  {{- $memory := include "capstan.bytes" ($model.resources.memory | default 0) | int64 -}}
  {{- $_ := set $model "size" (dict "gpu" $gpu "cpu" $cpu "memory" $memory) -}}
  {{- $_ := set $models $key $model -}}
{{- end -}}
{{- toJson $models -}}
{{- end -}}

{{/* Key of the pool that runs a model. */}}
{{- define "capstan.modelPool" -}}
{{- $known := join ", " .pools | default "none" -}}
{{- if .model.nodePool -}}
  {{- if not (has .model.nodePool .pools) -}}
    {{- fail (printf "%s.nodePool is %q, which is not in nodePools (%s). Add nodePools.%s, or change %s.nodePool." .path .model.nodePool $known .model.nodePool .path) -}}
  {{- end -}}
  {{- .model.nodePool -}}
{{- else if eq (len .pools) 1 -}}
  {{- first .pools -}}
{{- else if not .pools -}}
  {{- fail (printf "%s has no node pool, because nodePools is empty. Add one, for example nodePools: {gpu: {gpusPerNode: 1}}." .path) -}}
{{- else -}}
  {{- fail (printf "%s.nodePool is not set and nodePools has %d pools. Set %s.nodePool to one of: %s." .path (len .pools) .path $known) -}}
{{- end -}}
{{- end -}}

{{/* Sets the replica counts `min`, `initial` and `max` of a model and fills in its autoscaling. */}}
{{- define "capstan.setReplicaCounts" -}}
{{- $model := .model -}}
{{- if $model.autoscaling -}}
  {{- if $model.replicas -}}
    {{- fail (printf "%s has both replicas (%d) and autoscaling (maxReplicas %d). Remove %s.replicas or %s.autoscaling." .path (int $model.replicas) (int $model.autoscaling.maxReplicas) .path .path) -}}
  {{- end -}}
  {{- $scaling := deepCopy $model.autoscaling -}}
  {{- include "capstan.fillDefaults" (dict "given" $scaling "defaults" .defaults) -}}
  {{- $min := int $scaling.minReplicas -}}
  {{- $max := int $scaling.maxReplicas -}}
  {{- if gt $min $max -}}
    {{- fail (printf "%s.autoscaling.minReplicas is %d, but maxReplicas is %d. Lower %s.autoscaling.minReplicas or raise %s.autoscaling.maxReplicas." .path $min $max .path .path) -}}
  {{- end -}}
  {{- $initial := int (kindIs "invalid" $scaling.initialReplicas | ternary $min $scaling.initialReplicas) -}}
  {{- if or (lt $initial $min) (gt $initial $max) -}}
    {{- fail (printf "%s.autoscaling.initialReplicas is %d; it must be between minReplicas (%d) and maxReplicas (%d). Change %s.autoscaling.initialReplicas." .path $initial $min $max .path) -}}
  {{- end -}}
  {{- $_ := set $model "autoscaling" $scaling -}}
  {{- $_ := set $model "min" $min -}}
  {{- $_ := set $model "initial" $initial -}}
  {{- $_ := set $model "max" $max -}}
{{- else -}}
  {{- $count := int ($model.replicas | default 1) -}}
  {{- $_ := set $model "min" $count -}}
  {{- $_ := set $model "initial" $count -}}
  {{- $_ := set $model "max" $count -}}
{{- end -}}
{{- end -}}

{{/* Checks the values of one model. */}}
{{- define "capstan.checkModel" -}}
{{- $gpus := float64 .model.gpusPerReplica -}}
{{- if and (gt $gpus 1.0) (ne $gpus (floor $gpus)) -}}
  {{- fail (printf "%s.gpusPerReplica is %v; it must be a fraction below 1 or a whole number. Change %s.gpusPerReplica." .path .model.gpusPerReplica .path) -}}
{{- end -}}
{{- include "capstan.checkEngine" . -}}
{{- include "capstan.checkAdapter" . -}}
{{- $limit := float64 .root.Values.serve.requestTimeoutSeconds -}}
{{- $own := float64 (.model.settings.request_timeout | default 300) -}}
{{- if ge $own $limit -}}
  {{- fail (printf "%s.settings.request_timeout is %v s, but serve.requestTimeoutSeconds is %v s, and the proxy must wait longer than the model. Raise serve.requestTimeoutSeconds or lower %s.settings.request_timeout." .path $own $limit .path) -}}
{{- end -}}
{{- if and .model.autoscaling (eq .model.min 0) (not .root.Values.head.servesTraffic) -}}
  {{- fail (printf "%s.autoscaling.minReplicas is 0, but head.servesTraffic is false, so no pod would take the first request. Set head.servesTraffic to true, or %s.autoscaling.minReplicas to 1." .path .path) -}}
{{- end -}}
{{- if and .model.revision (or (eq .model.source "embedded") (hasPrefix "/" .model.source)) -}}
  {{- fail (printf "%s.revision is %q, but the source %q has no revisions. Remove %s.revision, or set %s.source to a hub id." .path .model.revision .model.source .path .path) -}}
{{- end -}}
{{- end -}}

{{/* Checks the adapter of a model. */}}
{{- define "capstan.checkAdapter" -}}
{{- $adapter := .model.adapter -}}
{{- if and $adapter.source (ne .model.engine.kind "native") -}}
  {{- fail (printf "%s.adapter.source is %q, but %s.engine.kind is %s. Name the adapter in that server's command, and remove %s.adapter." .path $adapter.source .path .model.engine.kind .path) -}}
{{- end -}}
{{- if and $adapter.revision (or (not $adapter.source) (hasPrefix "/" $adapter.source)) -}}
  {{- fail (printf "%s.adapter.revision is %q, but the source %q has no revisions. Remove %s.adapter.revision, or set %s.adapter.source to a hub id." .path $adapter.revision $adapter.source .path .path) -}}
{{- end -}}
{{- end -}}

{{/* Checks that what an engine of this kind needs is there, and nothing else. */}}
{{- define "capstan.checkEngine" -}}
{{- $engine := .model.engine -}}
{{- range $name := list "command" "url" -}}
  {{- if and (eq $engine.kind $name) (not (get $engine $name)) -}}
    {{- fail (printf "%s.engine.kind is %s, but %s.engine.%s is empty. Set it, or change %s.engine.kind." $.path $name $.path $name $.path) -}}
  {{- end -}}
  {{- if and (ne $engine.kind $name) (get $engine $name) -}}
    {{- fail (printf "%s.engine.%s is set, but %s.engine.kind is %s. Remove %s.engine.%s, or set %s.engine.kind to %s." $.path $name $.path $engine.kind $.path $name $.path $name) -}}
  {{- end -}}
{{- end -}}
{{- range $name := list "model" "pass" -}}
  {{- if and (eq $engine.kind "native") (get $engine $name) -}}
    {{- fail (printf "%s.engine.%s is set, but %s.engine.kind is native. Remove %s.engine.%s, or change %s.engine.kind." $.path $name $.path $.path $name $.path) -}}
  {{- end -}}
{{- end -}}
{{- if and (eq $engine.kind "url") (gt (float64 .model.gpusPerReplica) 0.0) -}}
  {{- fail (printf "%s.engine.kind is url, so the model runs elsewhere, but %s.gpusPerReplica is %v. Set %s.gpusPerReplica to 0." .path .path .model.gpusPerReplica .path) -}}
{{- end -}}
{{- end -}}
