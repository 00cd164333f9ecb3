{{/* Where the head stores its state. There is no option for a shared prefix or claim: during a rollout two clusters run. */}}
{{- define "capstan.gcsFaultTolerance" -}}
{{- with .Values.gcsFaultTolerance -}}
{{- if and (ne .backend "redis") .redis.address -}}
  {{- fail (printf "gcsFaultTolerance.redis.address is %q, but gcsFaultTolerance.backend is %q. Set gcsFaultTolerance.backend to \"redis\", or remove gcsFaultTolerance.redis.address." .redis.address .backend) -}}
{{- end -}}
{{- if eq .backend "redis" -}}
{{- if not .redis.address -}}
  {{- fail "gcsFaultTolerance.backend is \"redis\", but gcsFaultTolerance.redis.address is empty. Set gcsFaultTolerance.redis.address, for example to redis.data:6379." -}}
{{- end -}}
{{- /* No backend: redis is the default, and KubeRay before 1.7 does not know the field. */ -}}
redisAddress: {{ .redis.address | quote }}
{{- with .redis }}
{{- if .existingSecret }}
redisPassword:
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .passwordKey | quote }}
{{- with .usernameKey }}
redisUsername:
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.gcsFaultTolerance.redis.existingSecret }}
      key: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- else if eq .backend "rocksdb" -}}
backend: rocksdb
storage:
  size: {{ .rocksdb.size }}
  {{- with .rocksdb.storageClassName }}
  storageClassName: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}
{{- end -}}
