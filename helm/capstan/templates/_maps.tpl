{{/* Adds to the map `given` the keys of `defaults` that it lacks. sprig's merge treats 0, false and "" as missing. */}}
{{- define "capstan.fillDefaults" -}}
{{- $given := .given -}}
{{- range $key, $default := .defaults -}}
  {{- if or (not (hasKey $given $key)) (kindIs "invalid" (index $given $key)) -}}
    {{- $_ := set $given $key $default -}}
  {{- else if and (kindIs "map" $default) (kindIs "map" (index $given $key)) -}}
    {{- include "capstan.fillDefaults" (dict "given" (index $given $key) "defaults" $default) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Merges the map `from` into the map `into`, recursively. Unlike sprig's mergeOverwrite it keeps 0, false and "". */}}
{{- define "capstan.mergeInto" -}}
{{- $into := .into -}}
{{- range $key, $value := .from -}}
  {{- if and (kindIs "map" $value) (hasKey $into $key) (kindIs "map" (index $into $key)) -}}
    {{- include "capstan.mergeInto" (dict "into" (index $into $key) "from" $value) -}}
  {{- else -}}
    {{- $_ := set $into $key $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}
