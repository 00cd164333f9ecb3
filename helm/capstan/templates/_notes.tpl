{{/* https if the Gateway of the route terminates TLS. */}}
{{- define "capstan.routeScheme" -}}
{{- $tls := .Values.route.tls -}}
{{- if kindIs "invalid" $tls -}}
  {{- range .Values.route.parentRefs -}}
    {{- if or (eq (int .port) 443) (regexMatch "https|tls" (.sectionName | default "")) -}}{{- $tls = true -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- ternary "https" "http" ($tls | default false) -}}
{{- end -}}

{{/* Base URL of the router as clients see it. */}}
{{- define "capstan.routerUrl" -}}
{{- if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{ ternary "https" "http" (ne .Values.ingress.tlsSecret "") }}://{{ first .Values.ingress.hosts }}/v1
{{- else if and .Values.route.enabled .Values.route.hostnames -}}
{{ include "capstan.routeScheme" . }}://{{ first .Values.route.hostnames }}/v1
{{- else -}}
http://127.0.0.1:8001/v1
{{- end -}}
{{- end -}}

{{- define "capstan.notes" -}}
{{- $name := include "capstan.fullname" . -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $pools := include "capstan.pools" . | fromJson -}}
{{- $first := index $models (keys $models | sortAlpha | first) -}}
{{- $curl := printf "curl%s -F image=@examples/images/shapes.png" (empty .Values.apiKeys.existingSecret | ternary "" " -H 'Authorization: Bearer KEY'") -}}
{{- $path := ternary "" $first.route (eq $first.route "/") -}}
Capstan {{ .Chart.AppVersion }}: RayService {{ $name }} in namespace {{ .Release.Namespace }}
{{ range $key := keys $models | sortAlpha }}
{{- $model := index $models $key }}
  model {{ $key }} ({{ $model.source }}) at {{ $model.route }}: {{ if eq (int $model.min) (int $model.max) }}{{ $model.max }}{{ else }}{{ $model.min }} to {{ $model.max }}{{ end }} x {{ $model.gpusPerReplica }} GPU on {{ $model.pool }}
{{- end }}
{{- range $key := keys $pools | sortAlpha }}
{{- $pool := index $pools $key }}
  pool {{ $key }}: {{ if eq (int $pool.min) (int $pool.max) }}{{ $pool.max }}{{ else }}{{ $pool.min }} to {{ $pool.max }}{{ end }} worker pods with {{ $pool.gpusPerNode }} {{ $pool.gpuResource }}
{{- end }}

{{- range $key := keys $pools | sortAlpha }}
{{- if not (get $pools $key).models }}

Warning: nodePools.{{ $key }} runs no model. Set models.KEY.nodePool of a model to {{ quote $key }}, or remove nodePools.{{ $key }}.
{{- end }}
{{- end }}

It is ready when this prints RUNNING for every model:

  kubectl -n {{ .Release.Namespace }} get rayservice {{ $name }} -o jsonpath='{range .status.activeServiceStatus.applicationStatuses.*}{.status}{"\n"}{end}'

{{ if and .Values.ingress.enabled .Values.ingress.hosts -}}
Then send a request:

  {{ $curl }} {{ ternary "https" "http" (ne .Values.ingress.tlsSecret "") }}://{{ first .Values.ingress.hosts }}{{ $path }}/caption
{{- else if and .Values.route.enabled .Values.route.hostnames -}}
Then send a request through the Gateway:

  {{ $curl }} {{ include "capstan.routeScheme" . }}://{{ first .Values.route.hostnames }}{{ $path }}/caption
{{- else -}}
Then send a request, using two terminals:

  kubectl -n {{ .Release.Namespace }} port-forward service/{{ $name }}-serve-svc 8000:8000
  {{ $curl }} http://127.0.0.1:8000{{ $path }}/caption
{{- end }}

{{- if .Values.router.enabled }}

All models have one address for OpenAI's clients, {{ include "capstan.routerUrl" . }}:

  curl {{ include "capstan.routerUrl" . }}/models
{{- if not (or (and .Values.ingress.enabled .Values.ingress.hosts) (and .Values.route.enabled .Values.route.hostnames)) }}

which needs:

  kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "capstan.routerName" . }} 8001:8000
{{- end }}
{{- end }}

To test it from inside the cluster: helm -n {{ .Release.Namespace }} test {{ .Release.Name }}
{{- end -}}
