{{/* A CPU quantity, such as 500m or 2, in thousandths of a CPU. */}}
{{- define "capstan.millicpu" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}
{{- trimSuffix "m" $text | float64 | ceil | int -}}
{{- else -}}
{{- mulf (float64 $text) 1000.0 | ceil | int -}}
{{- end -}}
{{- end -}}

{{/* A memory quantity, such as 16Gi, in bytes. */}}
{{- define "capstan.bytes" -}}
{{- $text := toString . -}}
{{- $units := dict "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $number := trimSuffix $unit $text | float64 -}}
{{- mulf $number (get $units $unit | default 1.0) | printf "%.0f" -}}
{{- end -}}
