{{/* Selects the series of this release in a query. */}}
{{- define "capstan.series" -}}
namespace="{{ .Release.Namespace }}", release="{{ .Release.Name }}"
{{- end -}}

{{/*
Takes root, suffix, selector (labels of the pods), port (its name), and number where no container declares the port.
*/}}
{{- define "capstan.podMonitor" -}}
{{- $monitors := .root.Values.monitoring.podMonitors -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "capstan.metadata" (dict "root" .root "name" (printf "%s-%s" (include "capstan.fullname" .root) .suffix) "labels" $monitors.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "capstan.podLabels" .root | nindent 6 }}
      {{- toYaml .selector | nindent 6 }}
  podMetricsEndpoints:
    - port: {{ .port | default "metrics" }}
      path: /metrics
      interval: {{ $monitors.interval }}
      relabelings:
        {{- with .number }}
        # No container declares this port: declaring one would start a new cluster.
        - {action: replace, sourceLabels: [__meta_kubernetes_pod_ip], targetLabel: __address__, replacement: "$1:{{ . }}"}
        {{- end }}
        - {action: replace, targetLabel: release, replacement: {{ .root.Release.Name }}}
        - {action: replace, sourceLabels: [__meta_kubernetes_pod_label_ray_io_cluster], targetLabel: ray_cluster}
        - {action: replace, sourceLabels: [__meta_kubernetes_pod_label_ray_io_group], targetLabel: pool}
      metricRelabelings:
        # What a replica calls capstan_NAME at /metrics, Ray calls ray_capstan_NAME.
        - {action: replace, sourceLabels: [__name__], regex: "ray_(capstan_.+)", targetLabel: __name__, replacement: "$1"}
        - {action: labeldrop, regex: "otel_scope_.+"}
{{- end -}}
