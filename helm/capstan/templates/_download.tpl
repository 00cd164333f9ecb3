{{/* The pod spec of the download Job. Takes root and models. */}}
{{- define "capstan.downloadSpec" -}}
{{- $root := .root -}}
{{- $download := $root.Values.modelCache.download -}}
restartPolicy: Never
{{ include "capstan.plainPod" $root }}
{{- with $download.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $download.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: download
    {{- include "capstan.plainContainer" $root | nindent 4 }}
    command: [python, /download/download.py, fetch]
    env:
      - {name: HOME, value: /tmp}
      - {name: HF_HOME, value: /cache/huggingface}
      {{- range .models }}
      {{- if .secret }}
      - name: {{ .token }}
        valueFrom:
          secretKeyRef:
            name: {{ .secret }}
            key: {{ .key | quote }}
      {{- end }}
      {{- end }}
      {{- with $root.Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml $download.resources | nindent 6 }}
    volumeMounts:
      {{- include "capstan.mounts" $root | nindent 6 }}
      - name: cache
        mountPath: /cache
      - name: download
        mountPath: /download
volumes:
  {{- include "capstan.volumes" $root | nindent 2 }}
  - {{ include "capstan.cacheVolume" $root | nindent 4 | trim }}
  {{- include "capstan.downloadVolume" $root | nindent 2 }}
{{- end -}}

{{- define "capstan.downloadVolume" -}}
- name: download
  configMap:
    name: {{ include "capstan.name" . }}-download
{{- end -}}

{{/* The init container of worker pods that waits for the Job. Nothing here changes with the list of models. */}}
{{- define "capstan.waitForDownload" -}}
- name: wait-for-models
  {{- include "capstan.plainContainer" . | nindent 2 }}
  command: [python, /download/download.py, wait, --seconds, {{ .Values.modelCache.download.timeoutSeconds | toString | quote }}]
  env:
    - {name: HOME, value: /tmp}
  resources:
    requests: {cpu: 100m, memory: 128Mi}
    limits: {memory: 128Mi}
  volumeMounts:
    {{- include "capstan.mounts" . | nindent 4 }}
    - name: cache
      mountPath: /cache
    - name: download
      mountPath: /download
{{- end -}}

{{/* What a pod that is not Ray's has. */}}
{{- define "capstan.plainPod" -}}
serviceAccountName: {{ include "capstan.serviceAccountName" . }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{- define "capstan.plainContainer" -}}
image: {{ include "capstan.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}
