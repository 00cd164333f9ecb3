{{/* Name of the router's Deployment and Service. */}}
{{- define "capstan.routerName" -}}
{{- printf "%s-router" (include "capstan.fullname" .) -}}
{{- end -}}

{{- define "capstan.routerLabels" -}}
app.kubernetes.io/component: router
{{- end -}}

{{/* Selector of the release's Ray pods, as YAML: the router's pods have the same labels and one more. */}}
{{- define "capstan.raySelector" -}}
matchLabels:
  {{- include "capstan.podLabels" . | nindent 2 }}
{{- if .Values.router.enabled }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: NotIn, values: [router]}
{{- end }}
{{- end -}}

{{/* Selector of the router's pods, as YAML. */}}
{{- define "capstan.routerSelector" -}}
matchLabels:
  {{- include "capstan.podLabels" . | nindent 2 }}
  {{- include "capstan.routerLabels" . | nindent 2 }}
{{- end -}}

{{/* Arguments of the router: the address of each model by the name that clients send, as JSON. */}}
{{- define "capstan.routerModels" -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $arguments := list -}}
{{- $names := dict -}}
{{- range $key := keys $models | sortAlpha -}}
  {{- $model := get $models $key -}}
  {{- $name := $model.servedModelName | default $key -}}
  {{- if hasKey $names $name -}}
    {{- fail (printf "models.%s and models.%s are both served as %q, so the router could not tell them apart. Change models.%s.servedModelName, or set router.enabled to false." (get $names $name) $key $name $key) -}}
  {{- end -}}
  {{- $_ := set $names $name $key -}}
  {{- if or (eq $model.route "/v1") (hasPrefix "/v1/" $model.route) -}}
    {{- fail (printf "models.%s.routePrefix is %q, which the router serves. Change models.%s.routePrefix, or set router.enabled to false." $key $model.route $key) -}}
  {{- end -}}
  {{- $address := printf "http://%s-serve-svc:8000%s" (include "capstan.fullname" $) (trimSuffix "/" $model.route) -}}
  {{- $arguments = append $arguments (printf "--model=%s=%s" $name $address) -}}
{{- end -}}
{{- toJson $arguments -}}
{{- end -}}

{{/*
How HAProxy chooses a replica behind the router, as lines of its configuration: Ray puts the value after `balance` as it
is. Requests with the same value of the router's header reach the same replica, unless that one has half as many again
as the average. Requests without the header go round.
*/}}
{{- define "capstan.affinity" -}}
hash req.hdr(x-capstan-affinity)
    hash-type consistent
    hash-balance-factor 150
{{- end -}}
