{{/* Checks what KubeRay's incremental upgrade needs. */}}
{{- define "capstan.checkUpgradeStrategy" -}}
{{- $type := .root.Values.upgradeStrategy.type -}}
{{- $options := .root.Values.upgradeStrategy.clusterUpgradeOptions -}}
{{- $incremental := "NewClusterWithIncrementalUpgrade" -}}
{{- if and (eq $type $incremental) (not $options) -}}
  {{- fail (printf "upgradeStrategy.type is %s, but upgradeStrategy.clusterUpgradeOptions is not set. Set upgradeStrategy.clusterUpgradeOptions, or set upgradeStrategy.type to NewCluster." $type) -}}
{{- end -}}
{{- if and $options (ne $type $incremental) -}}
  {{- fail (printf "upgradeStrategy.clusterUpgradeOptions is set, but upgradeStrategy.type is %s. Set upgradeStrategy.type to %s, or remove upgradeStrategy.clusterUpgradeOptions." $type $incremental) -}}
{{- end -}}
{{- if and (eq $type $incremental) (not .scales) -}}
  {{- fail (printf "upgradeStrategy.type is %s, which needs Ray's autoscaler, but the number of worker pods cannot change. Give a model autoscaling, or set upgradeStrategy.type to NewCluster." $type) -}}
{{- end -}}
{{- end -}}
