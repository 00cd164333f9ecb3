{{/* Peers of a NetworkPolicy, as JSON: the pods of a namespace, if there is one, and more. */}}
{{- define "capstan.peers" -}}
{{- $peers := .more -}}
{{- with .namespace -}}{{- $peers = prepend $peers (dict "namespaceSelector" (include "capstan.namespaceSelector" . | fromJson)) -}}{{- end -}}
{{- toJson $peers -}}
{{- end -}}

{{/* Peers that are the KubeRay operator, as JSON. Takes the networkPolicy values. */}}
{{- define "capstan.operatorPeers" -}}
{{- if .operatorFrom -}}
{{- toJson .operatorFrom -}}
{{- else -}}
{{- $namespace := dict -}}
{{- with .operatorNamespace -}}{{- $namespace = include "capstan.namespaceSelector" . | fromJson -}}{{- end -}}
{{- $pods := dict "matchLabels" (dict "app.kubernetes.io/component" "kuberay-operator") -}}
{{- toJson (list (dict "namespaceSelector" $namespace "podSelector" $pods)) -}}
{{- end -}}
{{- end -}}

{{- define "capstan.namespaceSelector" -}}
{{- toJson (dict "matchLabels" (dict "kubernetes.io/metadata.name" .)) -}}
{{- end -}}
