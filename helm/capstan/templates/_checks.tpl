{{/* Checks the values that no other template checks while it renders. Takes root and scales (the autoscaler runs). */}}
{{- define "capstan.checkValues" -}}
{{- include "capstan.checkOperator" .root -}}
{{- include "capstan.checkUpgradeStrategy" . -}}
{{- include "capstan.checkModelCache" .root -}}
{{- include "capstan.checkEgress" . -}}
{{- with .root.Values -}}
  {{- include "capstan.checkResources" (dict "resources" .head.resources "path" "head.resources") -}}
  {{- include "capstan.checkResources" (dict "resources" .autoscaler.resources "path" "autoscaler.resources") -}}
  {{- include "capstan.checkResources" (dict "resources" .modelCache.download.resources "path" "modelCache.download.resources") -}}
{{- end -}}
{{- end -}}

{{/*
Checks that the operator knows token authentication. The version of the operator cannot be read, but its kinds can:
RayJob is in every version and RayCronJob came with 1.6. Without a cluster, as in `helm template`, neither is known.
*/}}
{{- define "capstan.checkOperator" -}}
{{- $kinds := .Capabilities.APIVersions -}}
{{- if and (eq .Values.auth.mode "token") ($kinds.Has "ray.io/v1/RayJob") (not ($kinds.Has "ray.io/v1/RayCronJob")) -}}
  {{- fail "auth.mode is token, but KubeRay is older than 1.6 (it has no RayCronJob) and drops authentication silently, so the dashboard would be open. Upgrade KubeRay to 1.6 or later, or set auth.mode to disabled." -}}
{{- end -}}
{{- end -}}

{{/* The TCP ports that API servers listen on, as JSON. */}}
{{- define "capstan.apiServerPorts" -}}
[443, 6443, 8443, 16443]
{{- end -}}

{{/* Checks that the egress rules let the autoscaler reach the API server, and the head its Redis. */}}
{{- define "capstan.checkEgress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if and $policy.enabled (not (kindIs "invalid" $policy.egress)) -}}
  {{- if and .scales (not (include "capstan.egressReaches" (dict "egress" $policy.egress "ports" (include "capstan.apiServerPorts" . | fromJsonArray)))) -}}
    {{- fail "networkPolicy.egress has no rule for the API server (TCP port 443, 6443, 8443 or 16443), which Ray's autoscaler must reach. Add one, for example {ports: [{port: 443}, {port: 6443}]}, or give no model autoscaling." -}}
  {{- end -}}
  {{- $state := .root.Values.gcsFaultTolerance -}}
  {{- $port := regexFind "[0-9]+$" $state.redis.address | default "6379" | atoi -}}
  {{- if and (eq $state.backend "redis") (not (include "capstan.egressReaches" (dict "egress" $policy.egress "ports" (list $port)))) -}}
    {{- fail (printf "networkPolicy.egress has no rule for Redis at %s (TCP port %d), which the head must reach. Add one, for example {ports: [{port: %d}]}, or set gcsFaultTolerance.backend to \"none\"." $state.redis.address $port $port) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if the egress rules allow TCP to one of these ports somewhere. Takes egress and ports. */}}
{{- define "capstan.egressReaches" -}}
{{- $reaches := "" -}}
{{- range .egress -}}
  {{- if not .ports -}}{{- $reaches = "true" -}}{{- end -}}
  {{- range .ports -}}
    {{- $first := .port | default 0 | toString | atoi -}}
    {{- $last := .endPort | default $first | int -}}
    {{- $tcp := eq (.protocol | default "TCP") "TCP" -}}
    {{- range $.ports -}}
      {{- $port := int . -}}
      {{- if and $tcp (or (eq $first 0) (and (ge $port $first) (le $port $last))) -}}{{- $reaches = "true" -}}{{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $reaches -}}
{{- end -}}
