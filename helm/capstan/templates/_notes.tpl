{{- define "capstan.notes" -}}
{{- $name := include "capstan.name" . -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $pools := include "capstan.pools" . | fromJson -}}
{{- $first := index $models (keys $models | sortAlpha | first) -}}
{{- $curl := printf "curl%s -F image=@examples/images/shapes.png" (empty .Values.apiKeys.existingSecret | ternary "" " -H 'Authorization: Bearer KEY'") -}}
{{- $path := ternary "" $first.route (eq $first.route "/") -}}
Capstan {{ .Chart.AppVersion }}: RayService {{ $name }} in namespace {{ .Release.Namespace }}
{{ range $key := keys $models | sortAlpha }}
{{- $model := index $models $key }}
  model {{ $key }} ({{ $model.source }}) at {{ $model.route }}: {{ if eq (int $model.fewest) (int $model.most) }}{{ $model.most }}{{ else }}{{ $model.fewest }} to {{ $model.most }}{{ end }} x {{ $model.gpusPerReplica }} GPU on {{ $model.pool }}
{{- end }}
{{- range $key := keys $pools | sortAlpha }}
{{- $pool := index $pools $key }}
  pool {{ $key }}: {{ if eq (int $pool.fewest) (int $pool.most) }}{{ $pool.most }}{{ else }}{{ $pool.fewest }} to {{ $pool.most }}{{ end }} worker pods with {{ $pool.gpusPerNode }} {{ $pool.gpuResource }}
{{- end }}

It serves once this says RUNNING for every model:

  kubectl -n {{ .Release.Namespace }} get rayservice {{ $name }} -o jsonpath='{range .status.activeServiceStatus.applicationStatuses.*}{.status}{"\n"}{end}'

{{ if and .Values.ingress.enabled .Values.ingress.host -}}
Then, from anywhere:

  {{ $curl }} {{ ternary "https" "http" (ne .Values.ingress.tlsSecret "") }}://{{ .Values.ingress.host }}{{ $path }}/caption
{{- else if and .Values.route.enabled .Values.route.hostnames -}}
Then, through the Gateway:

  {{ $curl }} http://{{ first .Values.route.hostnames }}{{ $path }}/caption
{{- else -}}
Then, in two terminals:

  kubectl -n {{ .Release.Namespace }} port-forward service/{{ $name }}-serve-svc 8000:8000
  {{ $curl }} http://127.0.0.1:8000{{ $path }}/caption
{{- end }}

Try it from inside: helm -n {{ .Release.Namespace }} test {{ .Release.Name }}
{{- end -}}
