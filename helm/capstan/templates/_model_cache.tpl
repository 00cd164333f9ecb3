{{/* The models and adapters to download from the hub, as JSON: a list that also names the environment variable with each token. */}}
{{- define "capstan.hubModels" -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $hub := list -}}
{{- range $key := keys $models | sortAlpha -}}
  {{- $model := get $models $key -}}
  {{- range $part := list $model $model.adapter -}}
    {{- if not (or (has $part.source (list "" "embedded")) (hasPrefix "/" $part.source)) -}}
      {{- $hub = append $hub (dict "source" $part.source "revision" $part.revision "token" (printf "TOKEN_%d" (len $hub)) "secret" $model.existingSecret "key" $model.existingSecretKey) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toJson $hub -}}
{{- end -}}

{{/* "true" if a Job fills the cache and worker pods wait for it. */}}
{{- define "capstan.downloadEnabled" -}}
{{- with .Values.modelCache -}}
{{- if and .download.enabled (eq .type "persistentVolumeClaim") -}}
{{- if include "capstan.hubModels" $ | fromJsonArray -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "capstan.cacheVolume" -}}
name: cache
{{- with .Values.modelCache }}
{{- if eq .type "persistentVolumeClaim" }}
persistentVolumeClaim:
  claimName: {{ .existingClaim | default (printf "%s-models" (include "capstan.fullname" $)) }}
{{- else if .sizeLimit }}
emptyDir:
  sizeLimit: {{ .sizeLimit }}
{{- else }}
emptyDir: {}
{{- end }}
{{- end }}
{{- end -}}

{{/* Checks that the volume of the cache suits the pods that mount it. */}}
{{- define "capstan.checkModelCache" -}}
{{- with .Values.modelCache -}}
{{- $claim := eq .type "persistentVolumeClaim" -}}
{{- if and .existingClaim (not $claim) -}}
  {{- fail (printf "modelCache.existingClaim is %q, but modelCache.type is %q. Set modelCache.type to \"persistentVolumeClaim\", or remove modelCache.existingClaim." .existingClaim .type) -}}
{{- end -}}
{{- if and .sizeLimit $claim -}}
  {{- fail (printf "modelCache.sizeLimit is %q, but modelCache.type is %q and only an emptyDir has a size limit. Set modelCache.size instead." .sizeLimit .type) -}}
{{- end -}}
{{- if and $claim (not .existingClaim) (not (has "ReadWriteMany" .accessModes)) -}}
  {{- $workers := 0 -}}
  {{- range include "capstan.pools" $ | fromJson -}}{{- $workers = add $workers (int .max) -}}{{- end -}}
  {{- $mounts := list (printf "%d worker %s" $workers (ternary "pod" "pods" (eq $workers 1))) -}}
  {{- $pods := $workers -}}
  {{- if ne $.Values.upgradeStrategy.type "None" -}}
    {{- $pods = add $pods $workers -}}
    {{- $mounts = append $mounts "as many again during a rollout" -}}
  {{- end -}}
  {{- if include "capstan.downloadEnabled" $ -}}
    {{- $pods = add $pods 1 -}}
    {{- $mounts = append $mounts "the download Job" -}}
  {{- end -}}
  {{- if gt (int $pods) 1 -}}
    {{- fail (printf "modelCache.accessModes is %s, but up to %d pods mount the claim (%s). Set modelCache.accessModes to [ReadWriteMany], or modelCache.type to \"emptyDir\"." (join ", " .accessModes) (int $pods) (join ", " $mounts)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
