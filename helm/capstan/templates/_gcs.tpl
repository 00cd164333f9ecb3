{{/* Where the head keeps its state. A prefix or a claim that two clusters share is not offered: a rollout has two. */}}
{{- define "capstan.gcsFaultTolerance" -}}
{{- with .Values.gcsFaultTolerance -}}
{{- if and (ne .backend "redis") .redis.address -}}
  {{- fail (printf "gcsFaultTolerance.redis.address is %q and gcsFaultTolerance.backend is %q; set gcsFaultTolerance.backend to \"redis\" or remove gcsFaultTolerance.redis.address." .redis.address .backend) -}}
{{- end -}}
{{- if eq .backend "redis" -}}
{{- if not .redis.address -}}
  {{- fail "gcsFaultTolerance.backend is \"redis\" and gcsFaultTolerance.redis.address is empty; set gcsFaultTolerance.redis.address, such as redis.data:6379." -}}
{{- end -}}
backend: redis
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
