{{/* The Serve config: one application per model, pinned to the pool of the model. */}}
{{- define "capstan.serveConfig" -}}
{{- $applications := list -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $pools := include "capstan.pools" . | fromJson -}}
{{- range $key := keys $models | sortAlpha -}}
  {{- $model := get $models $key -}}
  {{- $surge := include "capstan.surge" (dict "model" $model "pool" (get $pools $model.pool)) | int -}}
  {{- $applications = append $applications (include "capstan.application" (dict "model" $model "surge" $surge "root" $) | fromJson) -}}
{{- end -}}
{{- $config := dict
    "proxy_location" "EveryNode"
    "http_options" (dict "host" "0.0.0.0" "port" 8000 "request_timeout_s" .Values.serve.requestTimeoutSeconds)
    "logging_config" (dict "encoding" .Values.serve.logEncoding "log_level" "INFO" "enable_access_log" false) -}}
{{- include "capstan.mergeInto" (dict "into" $config "from" (deepCopy .Values.serveConfig)) -}}
{{- $_ := set $config "applications" $applications -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The Serve application of a model, as JSON. Takes model, surge (percent) and root. */}}
{{- define "capstan.application" -}}
{{- $model := .model -}}
{{- $args := (dict
    "model" $model.source
    "served_model_name" ($model.servedModelName | default $model.key)
    "gpus_per_replica" (max 1 (int $model.gpusPerReplica))) -}}
{{- if ne $model.engine.kind "native" -}}
  {{- $_ := set $args "engine" $model.engine.kind -}}
  {{- range $name := list "command" "url" "model" "pass" -}}
    {{- with get $model.engine $name -}}{{- $_ := set $args (printf "engine_%s" $name) . -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- include "capstan.mergeInto" (dict "into" $args "from" $model.settings) -}}
{{- if $model.revision -}}{{- $_ := set $args "model_revision" $model.revision -}}{{- end -}}
{{- with $model.adapter.source -}}{{- $_ := set $args "adapter" . -}}{{- end -}}
{{- with $model.adapter.revision -}}{{- $_ := set $args "adapter_revision" . -}}{{- end -}}
{{- with .root.Values.apiKeys -}}
  {{- if .existingSecret -}}{{- $_ := set $args "keys_file" (printf "/etc/capstan/keys/%s" .key) -}}{{- end -}}
{{- end -}}
{{- $options := dict
    "num_cpus" $model.resources.cpu
    "num_gpus" $model.gpusPerReplica
    "label_selector" (dict "capstan.pool" $model.pool) -}}
{{- with $model.resources.memory -}}{{- $_ := set $options "memory" (include "capstan.bytes" . | int64) -}}{{- end -}}
{{- $deployment := dict
    "name" "Model"
    "max_ongoing_requests" $model.maxOngoingRequests
    "max_queued_requests" $model.maxQueuedRequests
    "graceful_shutdown_timeout_s" .root.Values.serve.drainSeconds
    "ray_actor_options" $options -}}
{{- if $model.autoscaling -}}
  {{- $_ := set $deployment "num_replicas" "auto" -}}
  {{- $_ := set $deployment "autoscaling_config" (include "capstan.autoscalingConfig" $model.autoscaling | fromJson) -}}
{{- else -}}
  {{- $_ := set $deployment "num_replicas" $model.max -}}
{{- end -}}
{{- with .surge -}}{{- $_ := set $deployment "max_surge_percent" . -}}{{- end -}}
{{- $user := dict -}}
{{- range $from, $to := dict "prompt" "prompt" "maxTokens" "max_tokens" "temperature" "temperature" -}}
  {{- $value := get $model.generation $from -}}
  {{- if not (kindIs "invalid" $value) -}}{{- $_ := set $user $to $value -}}{{- end -}}
{{- end -}}
{{- $_ := set $deployment "user_config" $user -}}
{{- $more := deepCopy $model.serveConfig -}}
{{- include "capstan.checkServeConfig" (dict "model" $model "deployment" $deployment) -}}
{{- include "capstan.mergeInto" (dict "into" $deployment "from" ($more.deployment | default dict)) -}}
{{- $application := dict
    "name" $model.key
    "route_prefix" $model.route
    "import_path" "service.app:build"
    "args" $args -}}
{{- if $model.env -}}{{- $_ := set $application "runtime_env" (dict "env_vars" $model.env) -}}{{- end -}}
{{- include "capstan.mergeInto" (dict "into" $application "from" (omit $more "deployment")) -}}
{{- $_ := set $application "deployments" (list $deployment) -}}
{{- toJson $application -}}
{{- end -}}

{{- define "capstan.autoscalingConfig" -}}
{{- $config := dict
    "min_replicas" .minReplicas
    "max_replicas" .maxReplicas
    "upscale_delay_s" .upscaleDelay
    "downscale_delay_s" .downscaleDelay -}}
{{- if .targetOngoingRequests -}}
  {{- $_ := set $config "target_ongoing_requests" .targetOngoingRequests -}}
{{- else -}}
  {{- $_ := set $config "policy" (dict
      "policy_function" "service.autoscaling.policy:WorkPolicy"
      "policy_kwargs" (dict "utilization" .targetUtilization)) -}}
{{- end -}}
{{- range $from, $to := dict "initialReplicas" "initial_replicas" "downscaleToZeroDelay" "downscale_to_zero_delay_s" -}}
  {{- $value := get $ $from -}}
  {{- if not (kindIs "invalid" $value) -}}{{- $_ := set $config $to $value -}}{{- end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/*
Checks that a model's serveConfig does not contradict the counts of replicas and worker pods. Takes model and
deployment, as it is without serveConfig.
*/}}
{{- define "capstan.checkServeConfig" -}}
{{- $path := printf "models.%s.serveConfig" .model.key -}}
{{- if hasKey .model.serveConfig "deployments" -}}
  {{- fail (printf "%s.deployments is set, but a model has one deployment. Set %s.deployment instead." $path $path) -}}
{{- end -}}
{{- $own := .model.serveConfig.deployment | default dict -}}
{{- $model := printf "models.%s" .model.key -}}
{{- $checks := list
    (list "" "num_replicas" (empty .model.autoscaling | ternary "replicas" "autoscaling"))
    (list "autoscaling_config" "min_replicas" "autoscaling.minReplicas")
    (list "autoscaling_config" "max_replicas" "autoscaling.maxReplicas")
    (list "autoscaling_config" "initial_replicas" "autoscaling.initialReplicas")
    (list "ray_actor_options" "num_cpus" "resources.cpu")
    (list "ray_actor_options" "num_gpus" "gpusPerReplica")
    (list "ray_actor_options" "memory" "resources.memory")
    (list "ray_actor_options" "label_selector" "nodePool") -}}
{{- range $checks -}}
  {{- $group := index . 0 -}}
  {{- $field := index . 1 -}}
  {{- $theirs := eq $group "" | ternary $own (get $own $group | default dict) -}}
  {{- $ours := eq $group "" | ternary $.deployment (get $.deployment $group | default dict) -}}
  {{- if hasKey $theirs $field -}}
    {{- $value := get $theirs $field -}}
    {{- if ne (toJson $value) (get $ours $field | toJson) -}}
      {{- $name := printf "%s.%s" $group $field | trimPrefix "." -}}
      {{- fail (printf "%s.deployment.%s is %s, but the chart counts worker pods by %s.%s. Remove it and set %s.%s." $path $name (toJson $value) $model (index . 2) $model (index . 2)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $options := .deployment.ray_actor_options -}}
{{- range $resource, $reserved := dict "CPU" $options.num_cpus "GPU" $options.num_gpus "memory" ($options.memory | default 0) -}}
  {{- $sum := 0.0 -}}
  {{- range $own.placement_group_bundles -}}{{- $sum = addf $sum (get . $resource | default 0 | float64) -}}{{- end -}}
  {{- if gt $sum (float64 $reserved) -}}
    {{- fail (printf "%s.deployment.placement_group_bundles has %v %s, but the chart counts worker pods by %v per replica. Lower the bundles, or raise %s.resources or %s.gpusPerReplica." $path $sum $resource $reserved $model $model) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
