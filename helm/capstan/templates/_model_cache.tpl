{{/* The models to download from the hub, as JSON: a list that also names the environment variable with each token. */}}
{{- define "capstan.hubModels" -}}
{{- $models := include "capstan.models" . | fromJson -}}
{{- $hub := list -}}
{{- range $key := keys $models | sortAlpha -}}
  {{- $model := get $models $key -}}
  {{- if not (or (eq $model.source "embedded") (hasPrefix "/" $model.source)) -}}
    {{- $hub = append $hub (dict "source" $model.source "revision" $model.revision "token" (printf "TOKEN_%d" (len $hub)) "secret" $model.existingSecret "key" $model.existingSecretKey) -}}
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

{{- define "capstan.checkModelCache" -}}
{{- with .Values.modelCache -}}
{{- $claim := eq .type "persistentVolumeClaim" -}}
{{- if and .existingClaim (not $claim) -}}
  {{- fail (printf "modelCache.existingClaim is %q, but modelCache.type is %q. Set modelCache.type to \"persistentVolumeClaim\", or remove modelCache.existingClaim." .existingClaim .type) -}}
{{- end -}}
{{- if and .sizeLimit $claim -}}
  {{- fail (printf "modelCache.sizeLimit is %q, but modelCache.type is %q and only an emptyDir has a size limit. Set modelCache.size instead." .sizeLimit .type) -}}
{{- end -}}
{{- $nodes := 0 -}}
{{- range include "capstan.pools" $ | fromJson -}}{{- $nodes = add $nodes (int .max) -}}{{- end -}}
{{- if and $claim (not .existingClaim) (gt $nodes 1) (not (has "ReadWriteMany" .accessModes)) -}}
  {{- fail (printf "modelCache.accessModes is %s, but up to %d worker pods share the claim. Set modelCache.accessModes to [ReadWriteMany], or modelCache.type to \"emptyDir\"." (join ", " .accessModes) $nodes) -}}
{{- end -}}
{{- end -}}
{{- end -}}
