{{/* Pod spec of the head and of workers. Takes root, the container's name, env, ports, resources and so on. */}}
{{- define "capstan.rayPodSpec" -}}
{{- $root := .root -}}
{{- /* With the autoscaler, KubeRay gives the head a ServiceAccount that may change the RayCluster. */ -}}
{{- if .apiToken }}
automountServiceAccountToken: true
{{- else }}
serviceAccountName: {{ include "capstan.serviceAccountName" $root }}
automountServiceAccountToken: false
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ add .drainSeconds 15 }}
{{- /* Service links of a release called capstan would be variables that start with CAPSTAN_, like the settings. */}}
enableServiceLinks: false
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .resourceClaims }}
resourceClaims:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .initContainers }}
initContainers:
  {{- . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "capstan.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    securityContext:
      {{- toYaml $root.Values.securityContext | nindent 6 }}
    env:
      {{- include "capstan.rayEnv" . | trim | nindent 6 }}
    ports:
      {{- toYaml .ports | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    lifecycle:
      preStop:
        exec:
          command:
            - /bin/bash
            - -c
            - |
              {{- .preStop | nindent 14 }}
    volumeMounts:
      {{- include "capstan.volumeMounts" $root | nindent 6 }}
      {{- with .mounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with .sidecars }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "capstan.volumes" $root | nindent 2 }}
  {{- with .volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
Environment variables of a Ray container. The head takes requests through a new proxy before Serve's controller has
seen that proxy ready. After three checks the controller replaces it, with the streams in it: at 5 s each that is too
soon for a head that has just restarted. An HAProxy that has ended fails three checks at once, at 3 s from one to the
next; one that is slow to answer has three times 20 s. The GCS calls a node dead after five checks in a row that it
missed, and a raylet that learns of it ends, with all that runs in the pod: a network that is away for 30 s costs the
replicas behind it. Ten leave it two minutes. A raylet that has ended is noticed at once, by its closed connection, and a
replica that Serve does not reach for 30 s is replaced whatever the GCS thinks of its node.
*/}}
{{- define "capstan.rayEnv" -}}
{{- $env := dict
    "HOME" "/tmp"
    "RAY_USAGE_STATS_ENABLED" "0"
    "RAY_SERVE_ENABLE_HA_PROXY" "1"
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" "service.ingress:middlewares"
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD" "0"
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S" "5"
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S" "30"
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S" "3"
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S" "20"
    "RAY_health_check_failure_threshold" "10"
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" (toString .drainSeconds)
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S" (toString .root.Values.serve.requestTimeoutSeconds) -}}
{{- if .root.Values.router.enabled -}}
  {{- $_ := set $env "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM" (include "capstan.affinity" .root) -}}
{{- end -}}
{{- include "capstan.mergeInto" (dict "into" $env "from" (.env | default dict)) -}}
{{- range $name := keys $env | sortAlpha }}
- name: {{ $name }}
  value: {{ index $env $name | quote }}
{{- end }}
{{- with .secret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key | quote }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "capstan.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "capstan.volumes" -}}
- name: tmp
  {{- $set := dict -}}
  {{- range $name, $value := .Values.tmp -}}{{- if $value -}}{{- $_ := set $set $name $value -}}{{- end -}}{{- end }}
  emptyDir: {{ toJson $set }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod template. It must not contain the chart version: a change here starts a new cluster. */}}
{{- define "capstan.podMetadata" -}}
labels:
  {{- include "capstan.podLabels" .root | nindent 2 }}
  {{- with merge (dict) (.labels | default dict) .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
