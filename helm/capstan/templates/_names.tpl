{{/* The RayService's name, after which KubeRay calls its Services. */}}
{{- define "capstan.name" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if gt (len $name) 47 -}}
{{- fail (printf "The RayService's name %q has %d characters and KubeRay takes 47 at most; set fullnameOverride to a shorter name or choose a shorter release name." $name (len $name)) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}
{{- fail (printf "The RayService's name %q must begin with a letter and consist of a-z, 0-9 and '-'; set fullnameOverride." $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Labels of the chart's objects. Pods do not get them: a chart's new version alone must not replace pods. */}}
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

{{/* Metadata of an object. Takes root, name and annotations. */}}
{{- define "capstan.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "capstan.labels" .root | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of Ray's pods, by which NetworkPolicy and PodDisruptionBudget find them. */}}
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
{{- .name | default (ternary (include "capstan.name" $) "default" .create) -}}
{{- end -}}
{{- end -}}
