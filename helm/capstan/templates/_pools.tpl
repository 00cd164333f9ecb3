{{/* The node pools as the values have them, as JSON. */}}
{{- define "capstan.givenPools" -}}
{{- if or .Values.nodePools .Values.models -}}
{{- toJson .Values.nodePools -}}
{{- else -}}
{{- toJson (dict "cpu" (dict "gpusPerNode" 0)) -}}
{{- end -}}
{{- end -}}

{{/*
The node pools with all defaults filled in, as JSON: {KEY: {...}}. In addition to its values each has `key`, `models`
(a list), `capacity` (see _placement.tpl), `packs` and the counts of worker pods: `min`, `initial`, `max` and `occupied`,
the fewest that hold the minimum number of replicas.
*/}}
{{- define "capstan.pools" -}}
{{- $defaults := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- $given := include "capstan.givenPools" . | fromJson -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $pools := dict -}}
{{- $packs := eq (include "capstan.packs" .) "true" -}}
{{- range $key := keys $given | sortAlpha -}}
  {{- $pool := set (deepCopy (get $given $key | default dict)) "key" $key -}}
  {{- include "capstan.fillDefaults" (dict "given" $pool "defaults" (deepCopy $defaults.nodePools)) -}}
  {{- $own := list -}}
  {{- range $name := keys $models | sortAlpha -}}
    {{- $model := get $models $name -}}
    {{- if eq $model.pool $key -}}{{- $own = append $own $model -}}{{- end -}}
  {{- end -}}
  {{- $_ := set $pool "models" $own -}}
  {{- $_ := set $pool "packs" $packs -}}
  {{- include "capstan.setPoolResources" $pool -}}
  {{- range $own -}}
    {{- include "capstan.checkFit" (dict "model" . "pool" $pool) -}}
  {{- end -}}
  {{- include "capstan.setWorkerCounts" $pool -}}
  {{- include "capstan.checkHubSecrets" $pool -}}
  {{- $_ := set $pools $key $pool -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/*
"true" if Serve packs replicas. The head may turn that off, and so does a placement group that is not STRICT_PACK
(ray/serve/_private/deployment_scheduler.py).
*/}}
{{- define "capstan.packs" -}}
{{- $packs := eq (get .Values.head.env "RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY" | default "1") "1" -}}
{{- range $key, $model := .Values.models -}}
  {{- $deployment := ($model | default dict).serveConfig | default dict | dig "deployment" dict -}}
  {{- if and $deployment.placement_group_bundles (ne ($deployment.placement_group_strategy | default "PACK") "STRICT_PACK") -}}
    {{- $packs = false -}}
  {{- end -}}
{{- end -}}
{{- $packs -}}
{{- end -}}

{{/* Sets the container resources and the capacity of a pool. */}}
{{- define "capstan.setPoolResources" -}}
{{- $gpus := int .gpusPerNode -}}
{{- include "capstan.checkResources" (dict "resources" .resources "path" (printf "nodePools.%s.resources" .key)) -}}
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
  {{- fail (printf "nodePools.%s.resources has no cpu, but Ray must know how many CPUs a worker pod has. Set nodePools.%s.resources.requests.cpu." .key .key) -}}
{{- end -}}
{{- $memory := $limits.memory | default $requests.memory -}}
{{- if not $memory -}}
  {{- fail (printf "nodePools.%s.resources has no memory, but Ray must know how much memory a worker pod has. Set nodePools.%s.resources.limits.memory." .key .key) -}}
{{- end -}}
{{- if and (hasPrefix "nvidia.com/mig-" .gpuResource) (gt (int .gpusPerNode) 1) -}}
  {{- fail (printf "nodePools.%s.gpusPerNode is %d, but CUDA sees one MIG device in a pod. Set nodePools.%s.gpusPerNode to 1; a node takes a pod for each of its devices." .key (int .gpusPerNode) .key) -}}
{{- end -}}
{{- range $name := list .gpuResource "nvidia.com/gpu" -}}
  {{- if or (hasKey $requests $name) (hasKey $limits $name) -}}
    {{- fail (printf "nodePools.%s.resources has %s, which the chart sets from gpusPerNode. Remove it and set nodePools.%s.gpusPerNode." $.key $name $.key) -}}
  {{- end -}}
{{- end -}}
{{- range $name := list "num-cpus" "num-gpus" "memory" "resources" "labels" -}}
  {{- if hasKey $.rayStartParams $name -}}
    {{- fail (printf "nodePools.%s.rayStartParams has %s, which the chart sets from gpusPerNode and resources. Remove it." $.key $name) -}}
  {{- end -}}
{{- end -}}
{{- $container := dict -}}
{{- if .resourceClaims -}}
  {{- $claims := list -}}
  {{- range .resourceClaims -}}{{- $claims = append $claims (dict "name" .name) -}}{{- end -}}
  {{- $_ := set $container "claims" $claims -}}
{{- else if gt $gpus 0 -}}
  {{- $requests = merge (dict .gpuResource $gpus) $requests -}}
  {{- $limits = merge (dict .gpuResource $gpus) $limits -}}
{{- end -}}
{{- $_ := set . "container" (merge $container (dict "requests" $requests "limits" $limits)) -}}
{{- /* KubeRay rounds the CPUs of a pod up to a whole number for Ray. */ -}}
{{- $cpus := divf (include "capstan.millicpu" $cpu) 1000.0 | ceil | int -}}
{{- $_ := set . "capacity" (dict "gpu" (mul 1000 $gpus) "cpu" (mul 1000 $cpus) "memory" (include "capstan.bytes" $memory | int64)) -}}
{{- end -}}

{{/* Checks that one replica fits on one node of its pool. */}}
{{- define "capstan.checkFit" -}}
{{- $path := printf "models.%s" .model.key -}}
{{- $pool := printf "nodePools.%s" .pool.key -}}
{{- if gt (float64 .model.gpusPerReplica) (float64 .pool.gpusPerNode) -}}
  {{- fail (printf "%s.gpusPerReplica is %v, but %s.gpusPerNode is %v and a replica runs on one node. Lower %s.gpusPerReplica, raise %s.gpusPerNode, or change %s.nodePool." $path .model.gpusPerReplica $pool .pool.gpusPerNode $path $pool $path) -}}
{{- end -}}
{{- if gt (int64 .model.size.cpu) (int64 .pool.capacity.cpu) -}}
  {{- fail (printf "%s.resources.cpu is %v, but a worker pod of %s has %v CPUs. Lower %s.resources.cpu or raise %s.resources.requests.cpu." $path .model.resources.cpu $pool (divf .pool.capacity.cpu 1000.0) $path $pool) -}}
{{- end -}}
{{- with .model.resources.memory -}}
  {{- if gt (int64 $.model.size.memory) (int64 $.pool.capacity.memory) -}}
    {{- fail (printf "%s.resources.memory is %s, but a worker pod of %s has %.1fGi. Lower %s.resources.memory or raise %s.resources.limits.memory." $path . $pool (divf $.pool.capacity.memory 1073741824.0) $path $pool) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Sets the counts of worker pods of a pool: `min`, `initial` and `max`. */}}
{{- define "capstan.setWorkerCounts" -}}
{{- $path := printf "nodePools.%s" .key -}}
{{- $fixed := not (kindIs "invalid" .nodes) -}}
{{- if and $fixed (not (and (kindIs "invalid" .minNodes) (kindIs "invalid" .maxNodes))) -}}
  {{- fail (printf "%s has nodes (%d) together with minNodes or maxNodes. Remove %s.nodes, or remove the other two." $path (int .nodes) $path) -}}
{{- end -}}
{{- $counts := dict "min" dict "initial" dict "max" dict -}}
{{- range $model := .models -}}
  {{- range $name, $of := $counts -}}{{- $_ := set $of $model.key (get $model $name) -}}{{- end -}}
{{- end -}}
{{- $min := include "capstan.nodesNeeded" (dict "pool" . "counts" $counts.min) | int -}}
{{- $initial := include "capstan.nodesNeeded" (dict "pool" . "counts" $counts.initial) | int -}}
{{- $max := include "capstan.nodesNeeded" (dict "pool" . "counts" $counts.max) | int -}}
{{- $_ := set . "occupied" (include "capstan.nodesOccupied" (dict "pool" . "counts" $counts.min) | int) -}}
{{- $limit := kindIs "invalid" .maxNodes | ternary .nodes .maxNodes -}}
{{- if and (not (kindIs "invalid" $limit)) (lt (int $limit) $max) -}}
  {{- $key := printf "%s.%s" $path (ternary "nodes" "maxNodes" $fixed) -}}
  {{- $needs := list -}}
  {{- $changes := list -}}
  {{- range .models -}}
    {{- $needs = append $needs (printf "models.%s: %d replicas x %v GPUs" .key (int .max) .gpusPerReplica) -}}
    {{- $changes = append $changes (printf "models.%s.%s" .key (empty .autoscaling | ternary "replicas" "autoscaling.maxReplicas")) -}}
  {{- end -}}
  {{- fail (printf "The models on %s need %d nodes (%s; a node has %v GPUs and %v CPUs), but %s is %d. Raise %s to %d, or lower %s." $path $max (join ", " $needs) .gpusPerNode (divf .capacity.cpu 1000.0) $key (int $limit) $key $max (join " or " $changes)) -}}
{{- end -}}
{{- if $fixed -}}
  {{- $min = int .nodes -}}{{- $initial = int .nodes -}}{{- $max = int .nodes -}}
{{- else -}}
  {{- if not (kindIs "invalid" .maxNodes) -}}{{- $max = int .maxNodes -}}{{- end -}}
  {{- if not (kindIs "invalid" .minNodes) -}}
    {{- $min = int .minNodes -}}
    {{- if kindIs "invalid" .maxNodes -}}{{- $max = max $max $min | int -}}{{- end -}}
    {{- if gt $min $max -}}
      {{- fail (printf "%s.minNodes is %d, but %s.maxNodes is %d. Lower %s.minNodes or raise %s.maxNodes." $path $min $path $max $path $path) -}}
    {{- end -}}
    {{- $initial = max $initial $min | int -}}
  {{- end -}}
{{- end -}}
{{- $_ := set . "min" $min -}}
{{- $_ := set . "initial" $initial -}}
{{- $_ := set . "max" $max -}}
{{- end -}}

{{/* The hub token is an environment variable of the pods, so all models of a pool must share it. */}}
{{- define "capstan.checkHubSecrets" -}}
{{- $seen := dict -}}
{{- range .models -}}
  {{- if .existingSecret -}}
    {{- $secret := printf "%s/%s" .existingSecret .existingSecretKey -}}
    {{- if and $seen.secret (ne $seen.secret $secret) -}}
      {{- fail (printf "models.%s and models.%s share nodePools.%s, but have different Secrets (%s, %s). Give them the same existingSecret, or change models.%s.nodePool." $seen.model .key .pool $seen.secret $secret .key) -}}
    {{- end -}}
    {{- $_ := set $seen "secret" $secret -}}
    {{- $_ := set $seen "model" .key -}}
  {{- end -}}
{{- end -}}
{{- end -}}
