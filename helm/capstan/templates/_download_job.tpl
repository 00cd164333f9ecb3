{{/* Pod spec of the download Job. Takes root and models. */}}
{{- define "capstan.downloadPodSpec" -}}
{{- $root := .root -}}
{{- $download := $root.Values.modelCache.download -}}
restartPolicy: Never
{{ include "capstan.jobPodSpec" (dict "root" $root) }}
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
    {{- include "capstan.jobContainer" $root | nindent 4 }}
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
      {{- include "capstan.volumeMounts" $root | nindent 6 }}
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
    name: {{ include "capstan.fullname" . }}-download
{{- end -}}

{{/* Init container of worker pods that waits for the Job. It must not depend on the models: a change would start a new cluster. */}}
{{- define "capstan.waitForDownload" -}}
- name: wait-for-models
  {{- include "capstan.jobContainer" . | nindent 2 }}
  command: [python, /download/download.py, wait, --seconds, {{ .Values.modelCache.download.timeoutSeconds | toString | quote }}]
  env:
    - {name: HOME, value: /tmp}
  resources:
    requests: {cpu: 100m, memory: 128Mi}
    limits: {memory: 128Mi}
  volumeMounts:
    {{- include "capstan.volumeMounts" . | nindent 4 }}
    - name: cache
      mountPath: /cache
    - name: download
      mountPath: /download
{{- end -}}

{{/* Pod fields of the Jobs and of `helm test`. Takes root, and the account of a pod that calls the API server. */}}
{{- define "capstan.jobPodSpec" -}}
serviceAccountName: {{ .account | default (include "capstan.serviceAccountName" .root) }}
automountServiceAccountToken: {{ not (empty .account) }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{- define "capstan.jobContainer" -}}
image: {{ include "capstan.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}
