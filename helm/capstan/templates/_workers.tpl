{{/* Ray labels of the nodes of a pool, as JSON. */}}
{{- define "capstan.rayLabels" -}}
{{- $labels := dict "capstan.pool" .key -}}
{{- if .spot -}}{{- $_ := set $labels "ray.io/market-type" "spot" -}}{{- end -}}
{{- toJson $labels -}}
{{- end -}}

{{- define "capstan.workerPodSpec" -}}
{{- $pool := .pool -}}
{{- $drain := ternary (min 20 (int .root.Values.serve.drainSeconds)) (int .root.Values.serve.drainSeconds) $pool.spot -}}
{{- $tolerations := $pool.tolerations -}}
{{- if gt (int $pool.gpusPerNode) 0 -}}
  {{- $keys := list $pool.gpuResource -}}
  {{- /* Nodes with MIG devices have the same taint as others. */ -}}
  {{- if or (hasPrefix "nvidia.com/mig-" $pool.gpuResource) $pool.resourceClaims -}}{{- $keys = append $keys "nvidia.com/gpu" | uniq -}}{{- end -}}
  {{- range $keys -}}
    {{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoSchedule") -}}
  {{- end -}}
{{- end -}}
{{- if $pool.spot -}}
  {{- range list "cloud.google.com/gke-spot" "kubernetes.azure.com/scalesetpriority" -}}
    {{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoSchedule") -}}
  {{- end -}}
{{- end -}}
{{- /* KubeRay before 1.5 ignores `labels` of a worker group; Ray also reads this variable. */ -}}
{{- $env := set (deepCopy $pool.env) "HF_HOME" "/cache/huggingface" -}}
{{- $_ := set $env "RAY_OVERRIDE_LABELS" (include "capstan.rayLabels" $pool) -}}
{{- $secret := dict -}}
{{- range $pool.models -}}
  {{- if .existingSecret -}}{{- $secret = dict "name" .existingSecret "key" .existingSecretKey -}}{{- end -}}
{{- end -}}
{{- $mounts := list (dict "name" "cache" "mountPath" "/cache") -}}
{{- $volumes := list (include "capstan.cacheVolume" .root | fromYaml) -}}
{{- with .root.Values.apiKeys -}}
  {{- if .existingSecret -}}
    {{- $mounts = append $mounts (dict "name" "keys" "mountPath" "/etc/capstan/keys" "readOnly" true) -}}
    {{- $volumes = append $volumes (dict "name" "keys" "secret" (dict "secretName" .existingSecret)) -}}
  {{- end -}}
{{- end -}}
{{- $wait := "" -}}
{{- if include "capstan.downloadEnabled" .root -}}
  {{- $wait = include "capstan.waitForDownload" .root -}}
  {{- $volumes = concat $volumes (include "capstan.downloadVolume" .root | fromYamlArray) -}}
{{- end -}}
{{- include "capstan.rayPodSpec" (merge (dict
    "root" .root
    "name" "ray-worker"
    "env" $env
    "secret" $secret
    "ports" (list (dict "name" "serve" "containerPort" 8000) (dict "name" "metrics" "containerPort" 8080))
    "resources" $pool.container
    "tolerations" $tolerations
    "mounts" $mounts
    "volumes" $volumes
    "initContainers" $wait
    "drainSeconds" $drain
    "preStop" (include "capstan.workerPreStop" (dict "drainSeconds" $drain)))
    (pick $pool "schedulerName" "resourceClaims" "sidecars" "nodeSelector" "affinity" "topologySpreadConstraints" "priorityClassName" "runtimeClassName")) -}}
{{- end -}}
