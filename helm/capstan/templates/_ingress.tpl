{{/*
Annotations of the Ingress, as JSON: a proxy must wait as long as Serve, take bodies of the size that the API takes, and
pass on a stream at once. Traefik needs none: it neither buffers nor limits by default.
*/}}
{{- define "capstan.ingressAnnotations" -}}
{{- $ingress := .Values.ingress -}}
{{- $seconds := toString .Values.serve.requestTimeoutSeconds -}}
{{- $annotations := dict -}}
{{- if eq $ingress.controller "nginx" -}}
  {{- range $key, $value := dict "proxy-body-size" (printf "%dm" (int $ingress.maxBodyMegabytes)) "proxy-read-timeout" $seconds "proxy-send-timeout" $seconds "proxy-buffering" "off" "proxy-request-buffering" "off" -}}
    {{- $_ := set $annotations (printf "nginx.ingress.kubernetes.io/%s" $key) $value -}}
  {{- end -}}
{{- else if eq $ingress.controller "alb" -}}
  {{- range $key, $value := dict "target-type" "ip" "healthcheck-path" "/-/healthz" "load-balancer-attributes" (printf "idle_timeout.timeout_seconds=%s" $seconds) "target-group-attributes" (printf "deregistration_delay.timeout_seconds=%d" (int .Values.serve.drainSeconds)) -}}
    {{- $_ := set $annotations (printf "alb.ingress.kubernetes.io/%s" $key) $value -}}
  {{- end -}}
{{- end -}}
{{- range $key, $annotation := dict "clusterIssuer" "cert-manager.io/cluster-issuer" "issuer" "cert-manager.io/issuer" -}}
  {{- with get $ingress.certManager $key -}}
    {{- if not (and $ingress.tlsSecret $ingress.hosts) -}}
      {{- fail (printf "ingress.certManager.%s is %q, but ingress.tlsSecret or ingress.hosts is empty, and cert-manager needs both. Set ingress.tlsSecret and ingress.hosts, or remove ingress.certManager.%s." $key . $key) -}}
    {{- end -}}
    {{- $_ := set $annotations $annotation . -}}
  {{- end -}}
{{- end -}}
{{- if and $ingress.certManager.clusterIssuer $ingress.certManager.issuer -}}
  {{- fail (printf "ingress.certManager has both clusterIssuer (%s) and issuer (%s). Remove one of them." $ingress.certManager.clusterIssuer $ingress.certManager.issuer) -}}
{{- end -}}
{{- include "capstan.mergeInto" (dict "into" $annotations "from" $ingress.annotations) -}}
{{- toJson $annotations -}}
{{- end -}}

{{/* Annotations of a Service that the Ingress leads to, as JSON. Takes root and its own annotations. */}}
{{- define "capstan.backendAnnotations" -}}
{{- $annotations := dict -}}
{{- if and .root.Values.ingress.enabled (eq .root.Values.ingress.controller "gke") -}}
  {{- $_ := set $annotations "cloud.google.com/backend-config" (dict "default" (include "capstan.fullname" .root) | toJson) -}}
  {{- $_ := set $annotations "cloud.google.com/neg" (dict "ingress" true | toJson) -}}
{{- end -}}
{{- include "capstan.mergeInto" (dict "into" $annotations "from" .own) -}}
{{- toJson $annotations -}}
{{- end -}}

{{/* The Services that paths lead to, longest path first, as JSON: a list of path and service. */}}
{{- define "capstan.backends" -}}
{{- $backends := list -}}
{{- if .Values.router.enabled -}}
  {{- $backends = append $backends (dict "path" "/v1" "service" (include "capstan.routerName" .)) -}}
{{- end -}}
{{- append $backends (dict "path" "/" "service" (printf "%s-serve-svc" (include "capstan.fullname" .))) | toJson -}}
{{- end -}}
