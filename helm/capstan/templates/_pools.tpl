{{/* The node pools as given, as JSON. */}}
{{- define "capstan.givenPools" -}}
{{- if or .Values.nodePools .Values.models -}}
{{- toJson .Values.nodePools -}}
{{- else -}}
{{- toJson (dict "cpu" (dict "gpusPerNode" 0)) -}}
{{- end -}}
{{- end -}}

{{/*
The pools that models use, with every left-out key filled in, as JSON: {KEY: {...}}. Beside the values each has
`key`, `models` (a list), `cpu` (thousandths), `memory` (bytes) and the counts of worker pods `fewest`, `first`, `most`.
*/}}
{{- define "capstan.pools" -}}
{{- $defaults := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- $given := include "capstan.givenPools" . | fromJson -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $pools := dict -}}
{{- range $key := keys $given | sortAlpha -}}
  {{- $pool := set (deepCopy (get $given $key | default dict)) "key" $key -}}
  {{- include "capstan.complete" (dict "given" $pool "defaults" (deepCopy $defaults.nodePools)) -}}
  {{- $own := list -}}
  {{- range $name := keys $models | sortAlpha -}}
    {{- $model := get $models $name -}}
    {{- if eq $model.pool $key -}}{{- $own = append $own $model -}}{{- end -}}
  {{- end -}}
  {{- if not $own -}}
    {{- fail (printf "nodePools.%s runs no model; set models.KEY.nodePool of one to %q, or remove nodePools.%s." $key $key $key) -}}
  {{- end -}}
  {{- $_ := set $pool "models" $own -}}
  {{- include "capstan.poolResources" $pool -}}
  {{- range $own -}}
    {{- include "capstan.checkFit" (dict "model" . "pool" $pool) -}}
  {{- end -}}
  {{- include "capstan.counts" $pool -}}
  {{- include "capstan.checkSecrets" $pool -}}
  {{- $_ := set $pools $key $pool -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* Sets a pool's container resources, `cpu` and `memory`. */}}
{{- define "capstan.poolResources" -}}
{{- $gpus := int .gpusPerNode -}}
{{- $requests := .resources.requests | default dict -}}
{{- $limits := .resources.limits | default dict -}}
{{- if not (or $requests $limits) -}}
  {{- $requests = dict "cpu" (ternary 2 (mul 4 $gpus) (eq $gpus 0)) "memory" (printf "%dGi" (ternary 4 (mul 16 $gpus) (eq $gpus 0))) -}}
  {{- $limits = dict "memory" $requests.memory -}}
{{- end -}}
{{- if and (hasKey $limits "memory") (not (hasKey $requests "memory")) -}}
  {{- $_ := set $requests "memory" $limits.memory -}}
{{- end -}}
{{- $cpu := $limits.cpu | default $requests.cpu -}}
{{- if not $cpu -}}
  {{- fail (printf "nodePools.%s.resources gives no cpu, and Ray must know how many CPUs a worker pod has; set nodePools.%s.resources.requests.cpu." .key .key) -}}
{{- end -}}
{{- $memory := $limits.memory | default $requests.memory -}}
{{- if not $memory -}}
  {{- fail (printf "nodePools.%s.resources gives no memory; set nodePools.%s.resources.limits.memory." .key .key) -}}
{{- end -}}
{{- range $name := list .gpuResource "nvidia.com/gpu" -}}
  {{- if or (hasKey $requests $name) (hasKey $limits $name) -}}
    {{- fail (printf "nodePools.%s.resources gives %s, which the chart sets from gpusPerNode; set nodePools.%s.gpusPerNode instead." $.key $name $.key) -}}
  {{- end -}}
{{- end -}}
{{- if gt $gpus 0 -}}
  {{- $requests = merge (dict .gpuResource $gpus) $requests -}}
  {{- $limits = merge (dict .gpuResource $gpus) $limits -}}
{{- end -}}
{{- $_ := set . "container" (dict "requests" $requests "limits" $limits) -}}
{{- /* Ray takes CPUs in whole numbers, rounded up, as KubeRay does. */ -}}
{{- $_ := set . "cpu" (mul 1000 (divf (include "capstan.milli" $cpu) 1000.0 | ceil | int)) -}}
{{- $_ := set . "memory" (include "capstan.bytes" $memory | int64) -}}
{{- end -}}

{{/* One replica must fit on one node of its pool. */}}
{{- define "capstan.checkFit" -}}
{{- $at := printf "models.%s" .model.key -}}
{{- $pool := printf "nodePools.%s" .pool.key -}}
{{- if gt (float64 .model.gpusPerReplica) (float64 .pool.gpusPerNode) -}}
  {{- fail (printf "%s.gpusPerReplica is %v and %s.gpusPerNode is %v; a replica runs on one node, so lower %s.gpusPerReplica, raise %s.gpusPerNode, or choose another %s.nodePool." $at .model.gpusPerReplica $pool .pool.gpusPerNode $at $pool $at) -}}
{{- end -}}
{{- if gt (include "capstan.milli" .model.resources.cpu | int) (int .pool.cpu) -}}
  {{- fail (printf "%s.resources.cpu is %v and a worker pod of %s has %v CPUs; lower %s.resources.cpu or raise %s.resources.requests.cpu." $at .model.resources.cpu $pool (divf .pool.cpu 1000.0) $at $pool) -}}
{{- end -}}
{{- with .model.resources.memory -}}
  {{- if gt (include "capstan.bytes" . | int64) (int64 $.pool.memory) -}}
    {{- fail (printf "%s.resources.memory is %s and a worker pod of %s has %.1fGi; lower %s.resources.memory or raise %s.resources.limits.memory." $at . $pool (divf $.pool.memory 1073741824.0) $at $pool) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Sets the counts of worker pods of a pool: `fewest`, `first` and `most`. */}}
{{- define "capstan.counts" -}}
{{- $at := printf "nodePools.%s" .key -}}
{{- $fixed := not (kindIs "invalid" .nodes) -}}
{{- if and $fixed (not (and (kindIs "invalid" .minNodes) (kindIs "invalid" .maxNodes))) -}}
  {{- fail (printf "%s has nodes (%d) together with minNodes or maxNodes; remove %s.nodes or the others." $at (int .nodes) $at) -}}
{{- end -}}
{{- $fewest := include "capstan.nodesFor" (dict "pool" . "count" "fewest") | int -}}
{{- $first := include "capstan.nodesFor" (dict "pool" . "count" "first") | int -}}
{{- $most := include "capstan.nodesFor" (dict "pool" . "count" "most") | int -}}
{{- $limit := kindIs "invalid" .maxNodes | ternary .nodes .maxNodes -}}
{{- if and (not (kindIs "invalid" $limit)) (lt (int $limit) $most) -}}
  {{- $key := printf "%s.%s" $at (ternary "nodes" "maxNodes" $fixed) -}}
  {{- $wanted := list -}}
  {{- $change := list -}}
  {{- range .models -}}
    {{- $wanted = append $wanted (printf "models.%s: %d replicas x %v GPUs" .key (int .most) .gpusPerReplica) -}}
    {{- $change = append $change (printf "models.%s.%s" .key (empty .autoscaling | ternary "replicas" "autoscaling.maxReplicas")) -}}
  {{- end -}}
  {{- fail (printf "The models on %s need %d nodes (%s; a node has %v GPUs and %v CPUs) and %s is %d; raise %s to %d or lower %s." $at $most (join ", " $wanted) .gpusPerNode (divf .cpu 1000.0) $key (int $limit) $key $most (join " or " $change)) -}}
{{- end -}}
{{- if $fixed -}}
  {{- $fewest = int .nodes -}}{{- $first = int .nodes -}}{{- $most = int .nodes -}}
{{- else -}}
  {{- if not (kindIs "invalid" .maxNodes) -}}{{- $most = int .maxNodes -}}{{- end -}}
  {{- if not (kindIs "invalid" .minNodes) -}}
    {{- $fewest = int .minNodes -}}
    {{- if kindIs "invalid" .maxNodes -}}{{- $most = max $most $fewest | int -}}{{- end -}}
    {{- if gt $fewest $most -}}
      {{- fail (printf "%s.minNodes is %d and %s.maxNodes is %d; lower %s.minNodes or raise %s.maxNodes." $at $fewest $at $most $at $at) -}}
    {{- end -}}
    {{- $first = max $first $fewest | int -}}
  {{- end -}}
{{- end -}}
{{- $_ := set . "fewest" $fewest -}}
{{- $_ := set . "first" $first -}}
{{- $_ := set . "most" $most -}}
{{- end -}}

{{/* The hub's token is in the environment of a pool's pods, so a pool has one. */}}
{{- define "capstan.checkSecrets" -}}
{{- $seen := dict -}}
{{- range .models -}}
  {{- if .existingSecret -}}
    {{- $secret := printf "%s/%s" .existingSecret .existingSecretKey -}}
    {{- if and $seen.secret (ne $seen.secret $secret) -}}
      {{- fail (printf "models.%s and models.%s share nodePools.%s and name different Secrets (%s, %s); give them the same existingSecret, or change models.%s.nodePool." $seen.model .key .pool $seen.secret $secret .key) -}}
    {{- end -}}
    {{- $_ := set $seen "secret" $secret -}}
    {{- $_ := set $seen "model" .key -}}
  {{- end -}}
{{- end -}}
{{- end -}}
