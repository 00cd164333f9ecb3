{{/* A PodDisruptionBudget. Takes root, suffix of the name, available and selector. */}}
{{- define "capstan.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "capstan.metadata" (dict "root" .root "name" (printf "%s-%s" (include "capstan.fullname" .root) .suffix)) | nindent 2 }}
spec:
  # maxUnavailable needs an owner with a scale subresource, which a RayCluster does not have.
  minAvailable: {{ .available }}
  # A pod that is not ready serves nothing, so evicting it costs nothing and must not block a drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "capstan.podLabels" .root | nindent 6 }}
      {{- toYaml .selector | nindent 6 }}
{{- end }}
