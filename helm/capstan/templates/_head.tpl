{{/* Annotations of the head pod, as JSON. Losing the head interrupts the cluster, so autoscalers must not move it. */}}
{{- define "capstan.headAnnotations" -}}
{{- $annotations := dict "karpenter.sh/do-not-disrupt" "true" "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" -}}
{{- include "capstan.mergeInto" (dict "into" $annotations "from" .Values.head.podAnnotations) -}}
{{- toJson $annotations -}}
{{- end -}}

{{- define "capstan.headPodSpec" -}}
{{- $head := .root.Values.head -}}
{{- $drain := int .root.Values.serve.drainSeconds -}}
{{- $ports := list
    (dict "name" "gcs-server" "containerPort" 6379)
    (dict "name" "dashboard" "containerPort" 8265)
    (dict "name" "client" "containerPort" 10001)
    (dict "name" "serve" "containerPort" 8000)
    (dict "name" "metrics" "containerPort" 8080) -}}
{{- include "capstan.rayPodSpec" (merge (dict
    "root" .root
    "name" "ray-head"
    "env" (merge (dict) $head.env (dict "RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY" "1"))
    "ports" $ports
    "resources" $head.resources
    "apiToken" .scales
    "drainSeconds" $drain
    "preStop" (include "capstan.headPreStop" (dict "drainSeconds" $drain)))
    (pick $head "nodeSelector" "tolerations" "affinity" "priorityClassName")) -}}
{{- end -}}
