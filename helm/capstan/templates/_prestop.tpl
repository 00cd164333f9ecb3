{{/*
Runs in a worker pod before SIGTERM: tells Ray that the node is stopping, so that Serve sends it no new requests and
stops its replicas once they have finished the requests they have; then waits for that.
*/}}
{{- define "capstan.workerPreStop" -}}
node=$(grep -haoE "node[-_]id=[0-9a-f]{56}" /proc/[0-9]*/cmdline | head -1)
timeout {{ .drainSeconds }} ray drain-node --node-id "${node#*=}" --reason DRAIN_NODE_REASON_PREEMPTION \
  --reason-message "the pod is stopping" --deadline-remaining-seconds {{ .drainSeconds }}
# [S] keeps the pattern from matching this script's own command line.
while (( SECONDS < {{ .drainSeconds }} )) && grep -qs "ray::[S]erveReplica" /proc/[0-9]*/cmdline; do sleep 1; done
{{- end -}}

{{/*
Runs in the head pod before SIGTERM: workers need the head until they have drained, so wait while one is connected.
18EB is port 6379 and 01 an open connection; connections from the pod to itself are ignored.
*/}}
{{- define "capstan.headPreStop" -}}
workers() {
  cat /proc/net/tcp /proc/net/tcp6 | grep -E ': [0-9A-F]+:18EB [0-9A-F]+:[0-9A-F]{4} 01 ' \
    | grep -qvE ': ([0-9A-F]+):18EB \1:'
}
while (( SECONDS < {{ .drainSeconds }} )) && workers; do sleep 1; done
{{- end -}}
