{{/* Name of the RayService. KubeRay names its Services after it. */}}
{{- define "capstan.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if gt (len $name) 47 -}}
{{- fail (printf "The RayService name %q has %d characters; KubeRay allows 47. Set fullnameOverride to a shorter name, or use a shorter release name." $name (len $name)) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}
{{- fail (printf "The RayService name %q must start with a letter and contain only a-z, 0-9 and '-'. Set fullnameOverride." $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Labels of the chart's objects. Pods do not get them, so that a new chart version alone does not replace pods. */}}
{{- define "capstan.labels" -}}
app.kubernetes.io/name: capstan
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: capstan
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The label by which Kueue queues the RayService, as JSON. On a pod or a Job, Kueue would queue that as well. */}}
{{- define "capstan.kueueLabels" -}}
{{- $label := "kueue.x-k8s.io/queue-name" -}}
{{- range $key := list "commonLabels" "podLabels" -}}
  {{- with get (index $.Values $key) $label -}}
    {{- fail (printf "%s has %s (%s), so Kueue would queue other objects of the release too. Remove it and set kueue.queueName." $key $label .) -}}
  {{- end -}}
{{- end -}}
{{- $labels := dict -}}
{{- with .Values.kueue.queueName -}}{{- $_ := set $labels $label . -}}{{- end -}}
{{- toJson $labels -}}
{{- end -}}

{{/* Metadata of an object. Takes root, name, labels and annotations. */}}
{{- define "capstan.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "capstan.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels that NetworkPolicy and PodDisruptionBudget select Ray pods by. */}}
{{- define "capstan.podLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: capstan
{{- end -}}

{{- define "capstan.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "capstan.serviceAccountName" -}}
{{- with .Values.serviceAccount -}}
{{- .name | default (ternary (include "capstan.fullname" $) "default" .create) -}}
{{- end -}}
{{- end -}}
