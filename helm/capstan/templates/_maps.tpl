{{/*
Fills into the map `given` what it lacks of the map `defaults`. sprig's merge would not do: it takes 0, false and ""
for missing.
*/}}
{{- define "capstan.complete" -}}
{{- $given := .given -}}
{{- range $key, $default := .defaults -}}
  {{- if or (not (hasKey $given $key)) (kindIs "invalid" (index $given $key)) -}}
    {{- $_ := set $given $key $default -}}
  {{- else if and (kindIs "map" $default) (kindIs "map" (index $given $key)) -}}
    {{- include "capstan.complete" (dict "given" (index $given $key) "defaults" $default) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Writes the map `from` over the map `into`, maps within maps too. */}}
{{- define "capstan.overwrite" -}}
{{- $into := .into -}}
{{- range $key, $value := .from -}}
  {{- if and (kindIs "map" $value) (hasKey $into $key) (kindIs "map" (index $into $key)) -}}
    {{- include "capstan.overwrite" (dict "into" (index $into $key) "from" $value) -}}
  {{- else -}}
    {{- $_ := set $into $key $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}
