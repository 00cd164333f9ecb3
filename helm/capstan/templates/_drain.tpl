{{/*
Before a worker pod gets SIGTERM: tell Ray that the node goes, upon which Serve sends it no new requests and stops
its replicas once they have answered what they have; then wait for that.
*/}}
{{- define "capstan.drainWorker" -}}
node=$(grep -haoE "node[-_]id=[0-9a-f]{56}" /proc/[0-9]*/cmdline | head -1)
timeout {{ .drainSeconds }} ray drain-node --node-id "${node#*=}" --reason DRAIN_NODE_REASON_PREEMPTION \
  --reason-message "the pod is stopping" --deadline-remaining-seconds {{ .drainSeconds }}
# [S], since this very script is among the command lines.
while (( SECONDS < {{ .drainSeconds }} )) && grep -qs "ray::[S]erveReplica" /proc/[0-9]*/cmdline; do sleep 1; done
{{- end -}}

{{/*
Before the head gets SIGTERM: the workers need it until they have drained, so wait while one is connected. 18EB is
port 6379, 01 an open connection; those of the pod to itself do not count.
*/}}
{{- define "capstan.drainHead" -}}
workers() {
  cat /proc/net/tcp /proc/net/tcp6 | grep -E ': [0-9A-F]+:18EB [0-9A-F]+:[0-9A-F]{4} 01 ' \
    | grep -qvE ': ([0-9A-F]+):18EB \1:'
}
while (( SECONDS < {{ .drainSeconds }} )) && workers; do sleep 1; done
{{- end -}}
