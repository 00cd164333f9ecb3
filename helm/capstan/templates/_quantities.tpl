{{/* A quantity of any unit, such as 500m, 16Gi or 2, as a plain number. */}}
{{- define "capstan.quantity" -}}
{{- $text := toString . -}}
{{- $units := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit | default 1.0) | printf "%.9f" -}}
{{- end -}}

{{/* A CPU quantity in thousandths of a CPU, rounded up. */}}
{{- define "capstan.millicpu" -}}
{{- mulf (include "capstan.quantity" . | float64) 1000.0 | printf "%.3f" | float64 | ceil | int -}}
{{- end -}}

{{/* A memory quantity in bytes. */}}
{{- define "capstan.bytes" -}}
{{- include "capstan.quantity" . | float64 | printf "%.0f" -}}
{{- end -}}

{{/* Checks that no request is above its limit. Takes resources and path, the name of the value. */}}
{{- define "capstan.checkResources" -}}
{{- $limits := .resources.limits | default dict -}}
{{- range $name, $request := .resources.requests | default dict -}}
  {{- $limit := get $limits $name -}}
  {{- if and $limit (gt (include "capstan.quantity" $request | float64) (include "capstan.quantity" $limit | float64)) -}}
    {{- fail (printf "%s.requests.%s is %v, but %s.limits.%s is %v. Lower the request or raise the limit." $.path $name $request $.path $name $limit) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
