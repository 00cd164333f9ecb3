{{/* What KubeRay's incremental upgrade needs. */}}
{{- define "capstan.checkUpgrade" -}}
{{- $type := .root.Values.upgradeStrategy.type -}}
{{- $options := .root.Values.upgradeStrategy.clusterUpgradeOptions -}}
{{- $incremental := "NewClusterWithIncrementalUpgrade" -}}
{{- if and (eq $type $incremental) (not $options) -}}
  {{- fail (printf "upgradeStrategy.type is %s and upgradeStrategy.clusterUpgradeOptions is not set; set it, or set upgradeStrategy.type to NewCluster." $type) -}}
{{- end -}}
{{- if and $options (ne $type $incremental) -}}
  {{- fail (printf "upgradeStrategy.clusterUpgradeOptions is set and upgradeStrategy.type is %s; set upgradeStrategy.type to %s or remove the options." $type $incremental) -}}
{{- end -}}
{{- if and (eq $type $incremental) (not .scales) -}}
  {{- fail (printf "upgradeStrategy.type %s needs Ray's autoscaler, and no number of worker pods may change; give a model autoscaling, or set upgradeStrategy.type to NewCluster." $type) -}}
{{- end -}}
{{- end -}}
