{{/* Checks what KubeRay's incremental upgrade needs. Takes root and scales. */}}
{{- define "capstan.checkUpgradeStrategy" -}}
{{- $type := .root.Values.upgradeStrategy.type -}}
{{- $options := .root.Values.upgradeStrategy.clusterUpgradeOptions -}}
{{- $incremental := "NewClusterWithIncrementalUpgrade" -}}
{{- if and $options (ne $type $incremental) -}}
  {{- fail (printf "upgradeStrategy.clusterUpgradeOptions is set, but upgradeStrategy.type is %s. Set upgradeStrategy.type to %s, or remove upgradeStrategy.clusterUpgradeOptions." $type $incremental) -}}
{{- end -}}
{{- if eq $type $incremental -}}
  {{- if not $options -}}
    {{- fail (printf "upgradeStrategy.type is %s, but upgradeStrategy.clusterUpgradeOptions is not set. Set upgradeStrategy.clusterUpgradeOptions, or set upgradeStrategy.type to NewCluster." $type) -}}
  {{- end -}}
  {{- if not .scales -}}
    {{- fail (printf "upgradeStrategy.type is %s, which needs Ray's autoscaler, but the number of worker pods cannot change. Give a model autoscaling, or set upgradeStrategy.type to NewCluster." $type) -}}
  {{- end -}}
  {{- $surge := int (kindIs "invalid" $options.maxSurgePercent | ternary 100 $options.maxSurgePercent) -}}
  {{- if gt (int $options.stepSizePercent) $surge -}}
    {{- fail (printf "upgradeStrategy.clusterUpgradeOptions.stepSizePercent is %d, but maxSurgePercent is %d, and KubeRay refuses a step above the surge. Lower stepSizePercent or raise maxSurgePercent." (int $options.stepSizePercent) $surge) -}}
  {{- end -}}
  {{- range $key := list "ingress" "route" -}}
    {{- if (index $.root.Values $key).enabled -}}
      {{- fail (printf "%s.enabled is true, but upgradeStrategy.type is %s, which moves traffic at a Gateway that KubeRay makes; %s would bypass it. Set %s.enabled to false, or upgradeStrategy.type to NewCluster." $key $type (eq $key "ingress" | ternary "an Ingress" "the route") $key) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
