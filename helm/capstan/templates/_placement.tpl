{{/*
How many worker pods a pool needs so that Ray can place all its replicas, whatever the order in which they start. Three
cases, each held by tests/chart/test_placement.py against Ray's own scheduler:

1. All replicas are of one size. Any order fills every pod with as many as fit.
2. The sizes nest: each divides the next larger one and the pod, and CPU and memory never run out before the GPUs (in a
   CPU pool, memory before the CPUs). Serve packs by best fit, which leaves no gap that a replica would need.
3. Anything else. A replica can only be blocked by pods in which others leave too little free, so there must be one pod
   more than the others can block.

Serve packs because the head sets RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY; where it spreads, case 2 is not used. Amounts
are thousandths of a GPU, thousandths of a CPU, and bytes. Takes pool, and counts (model key to number of replicas).
*/}}
{{- define "capstan.nodesNeeded" -}}
{{- $pool := .pool -}}
{{- $models := list -}}
{{- $total := 0 -}}
{{- range $pool.models -}}
  {{- $count := get $.counts .key | int -}}
  {{- if gt $count 0 -}}
    {{- $models = append $models (dict "count" $count "size" .size) -}}
    {{- $total = add $total $count -}}
  {{- end -}}
{{- end -}}
{{- if not $models -}}
0
{{- else if eq (include "capstan.sameSize" $models) "true" -}}
{{- divf $total (include "capstan.perNode" (dict "size" (first $models).size "pool" $pool)) | ceil | int -}}
{{- else if and $pool.packs (eq (include "capstan.nests" (dict "models" $models "pool" $pool)) "true") -}}
  {{- $dimension := gt (int $pool.gpusPerNode) 0 | ternary "gpu" "cpu" -}}
  {{- $sum := 0.0 -}}
  {{- range $models -}}{{- $sum = addf $sum (mulf .count (get .size $dimension)) -}}{{- end -}}
  {{- divf $sum (get $pool.capacity $dimension) | ceil | int -}}
{{- else -}}
{{- min $total (include "capstan.nodesBlocked" (dict "models" $models "pool" $pool) | int | add 1) -}}
{{- end -}}
{{- end -}}

{{/* "true" if all models have replicas of the same size. */}}
{{- define "capstan.sameSize" -}}
{{- $sizes := list -}}
{{- range . -}}{{- $sizes = append $sizes (toJson .size) -}}{{- end -}}
{{- eq (len (uniq $sizes)) 1 -}}
{{- end -}}

{{/* Number of replicas of one size that fit in one pod. Takes size and pool. */}}
{{- define "capstan.perNode" -}}
{{- $fit := 1000000 -}}
{{- $pool := .pool -}}
{{- range $dimension, $amount := .size -}}
  {{- $amount = int64 $amount -}}
  {{- if and (eq $dimension "gpu") (gt $amount 0) (lt $amount 1000) -}}
    {{- $fit = min $fit (mul (int $pool.gpusPerNode) (div 1000 $amount)) -}}
  {{- else if gt $amount 0 -}}
    {{- $fit = min $fit (div (get $pool.capacity $dimension | int64) $amount) -}}
  {{- end -}}
{{- end -}}
{{- $fit -}}
{{- end -}}

{{/* "true" if the sizes nest (case 2 above). Takes models and pool. */}}
{{- define "capstan.nests" -}}
{{- $capacity := .pool.capacity -}}
{{- $dimension := gt (int .pool.gpusPerNode) 0 | ternary "gpu" "cpu" -}}
{{- $whole := get $capacity $dimension | int64 -}}
{{- $nests := true -}}
{{- $sizes := list (printf "%020d" $whole) -}}
{{- range .models -}}
  {{- $amount := get .size $dimension | int64 -}}
  {{- $sizes = append $sizes (printf "%020d" $amount) -}}
  {{- if and (eq $dimension "gpu") (lt $amount 1000) -}}{{- $sizes = append $sizes (printf "%020d" 1000) -}}{{- end -}}
  {{- range $other, $used := .size -}}
    {{- if gt (mulf $used $whole) (mulf (get $capacity $other) $amount) -}}{{- $nests = false -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $smaller := 0 -}}
{{- range uniq $sizes | sortAlpha -}}
  {{- $size := trimPrefix "0" . | float64 | int64 -}}
  {{- if eq $size 0 -}}
    {{- $nests = false -}}
  {{- else if $smaller -}}
    {{- if ne (mod $size $smaller) 0 -}}{{- $nests = false -}}{{- end -}}
  {{- end -}}
  {{- $smaller = $size -}}
{{- end -}}
{{- $nests -}}
{{- end -}}

{{/*
The most pods in which other replicas can leave too little free for a replica of some model (case 3 above). One replica
blocks the share of a pod that it uses of the least amount that blocks it, in the dimension where that is largest.
Amounts are multiples of their greatest common divisor, which makes the least amount exact. Takes models and pool.
*/}}
{{- define "capstan.nodesBlocked" -}}
{{- $pool := .pool -}}
{{- $models := .models -}}
{{- $units := dict -}}
{{- range $dimension := list "gpu" "cpu" "memory" -}}
  {{- $unit := 0 -}}
  {{- range $models -}}{{- $unit = include "capstan.gcd" (list $unit (get .size $dimension)) | float64 | int64 -}}{{- end -}}
  {{- $_ := set $units $dimension (max 1 $unit) -}}
{{- end -}}
{{- $most := 0 -}}
{{- range $index, $blocked := $models -}}
  {{- $nodes := 0.0 -}}
  {{- range $other, $model := $models -}}
    {{- $share := 0.0 -}}
    {{- range $dimension := list "gpu" "cpu" "memory" -}}
      {{- $need := get $blocked.size $dimension | int64 -}}
      {{- $used := get $model.size $dimension | int64 -}}
      {{- $whole := get $pool.capacity $dimension | int64 -}}
      {{- $parts := 1 -}}
      {{- if and (eq $dimension "gpu") (ge $need 1000) (gt $used 0) -}}
        {{- /* Whole GPUs: a fraction of a GPU takes all of it from a replica that needs whole ones. */ -}}
        {{- $used = max 1000 $used -}}
      {{- else if and (eq $dimension "gpu") (lt $used 1000) -}}
        {{- /* Fractions of a GPU: every GPU must have too little free. */ -}}
        {{- $whole = 1000 -}}
        {{- $parts = max 1 (int $pool.gpusPerNode) -}}
      {{- end -}}
      {{- $unit := get $units $dimension | int64 -}}
      {{- if and (eq $dimension "gpu") (ge $need 1000) -}}{{- $unit = max 1000 (div $unit 1000 | mul 1000) -}}{{- end -}}
      {{- if and (gt $need 0) (gt $used 0) -}}
        {{- if and (eq $dimension "gpu") (lt $need 1000) (ge $used 1000) -}}
          {{- $share = maxf $share (divf $used $whole) -}}
        {{- else -}}
          {{- $free := sub $whole $need -}}
          {{- $least := add (mul $unit (div $free $unit)) $unit -}}
          {{- $share = maxf $share (divf (divf $used $least) $parts) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
    {{- $count := eq $index $other | ternary (sub $model.count 1) $model.count -}}
    {{- $nodes = addf $nodes (mulf $count (minf 1.0 $share)) -}}
  {{- end -}}
  {{- $most = max $most (addf $nodes 0.000001 | floor | int) -}}
{{- end -}}
{{- $most -}}
{{- end -}}

{{/* The greatest common divisor of a list of two whole numbers. */}}
{{- define "capstan.gcd" -}}
{{- $a := first . | int64 -}}
{{- $b := last . | int64 -}}
{{- if eq $b 0 -}}{{- $a -}}{{- else -}}{{- include "capstan.gcd" (list $b (mod $a $b)) -}}{{- end -}}
{{- end -}}

{{/* The fewest pods that can hold the replicas, however they are placed. Takes pool and counts. */}}
{{- define "capstan.nodesOccupied" -}}
{{- $pool := .pool -}}
{{- $sums := dict "gpu" 0.0 "cpu" 0.0 "memory" 0.0 -}}
{{- $fewest := 0 -}}
{{- range $model := $pool.models -}}
  {{- $count := get $.counts .key | int -}}
  {{- if gt $count 0 -}}
    {{- $fewest = max $fewest (divf $count (include "capstan.perNode" (dict "size" .size "pool" $pool)) | ceil | int) -}}
    {{- range $dimension, $amount := .size -}}
      {{- $_ := set $sums $dimension (addf (get $sums $dimension) (mulf $count $amount)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $dimension, $sum := $sums -}}
  {{- if gt $sum 0.0 -}}
    {{- $fewest = max $fewest (divf $sum (get $pool.capacity $dimension) | ceil | int) -}}
  {{- end -}}
{{- end -}}
{{- $fewest -}}
{{- end -}}

{{/*
Percentage of a model's replicas that can start before the old ones stop in a restart, next to all other replicas. 0 if
the pool has no capacity for one more, as replacements would then wait without end. A model on CPUs must reserve memory:
otherwise nothing says that another replica fits. Takes model and pool.
*/}}
{{- define "capstan.surge" -}}
{{- $percent := 0 -}}
{{- $count := int .model.max -}}
{{- if and (gt $count 0) (or (gt (int64 .model.size.gpu) 0) (gt (int64 .model.size.memory) 0)) -}}
  {{- range $extra := list $count (div $count 2) (div $count 4) (div $count 10) 1 | uniq -}}
    {{- if and (eq $percent 0) (gt (int $extra) 0) -}}
      {{- $counts := dict -}}
      {{- range $.pool.models -}}{{- $_ := set $counts .key (int .max) -}}{{- end -}}
      {{- $_ := set $counts $.model.key (add $count $extra) -}}
      {{- if le (include "capstan.nodesNeeded" (dict "pool" $.pool "counts" $counts) | int) (int $.pool.max) -}}
        {{- $percent = div (mul 100 $extra) $count -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $percent -}}
{{- end -}}
