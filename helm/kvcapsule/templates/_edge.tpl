{{/* How long a request and its stream may take: what the user says, or as long as the router lets an answer take, and 30 s. */}}
{{- define "kvcapsule.streamSeconds" -}}
{{- if .seconds }}{{ .seconds }}
{{- else }}{{ add (div (dig "requestTimeoutMs" 600000 .root.Values.router.config | int64) 1000) 30 }}
{{- end }}
{{- end }}

{{/* What a controller needs to let streams and pictures through. */}}
{{- define "kvcapsule.ingressAnnotations" -}}
{{- $seconds := include "kvcapsule.streamSeconds" (dict "root" . "seconds" .Values.ingress.timeoutSeconds) }}
{{- $controller := .Values.ingress.controller }}
{{- if eq $controller "nginx" }}
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
nginx.ingress.kubernetes.io/proxy-http-version: "1.1"
nginx.ingress.kubernetes.io/proxy-read-timeout: {{ quote $seconds }}
nginx.ingress.kubernetes.io/proxy-send-timeout: {{ quote $seconds }}
nginx.ingress.kubernetes.io/proxy-body-size: {{ printf "%dm" (dig "maxBodyMib" 64 .Values.router.config | int) | quote }}
# a request that was sent once is not sent again: the cluster itself goes on with it elsewhere
nginx.ingress.kubernetes.io/proxy-next-upstream: "off"
{{- else if eq $controller "haproxy" }}
haproxy.org/timeout-server: {{ printf "%ss" $seconds }}
haproxy.org/timeout-client: {{ printf "%ss" $seconds }}
{{- else if eq $controller "alb" }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/healthcheck-path: /health/ready
alb.ingress.kubernetes.io/load-balancer-attributes: {{ printf "idle_timeout.timeout_seconds=%d" (min 4000 (int $seconds)) | quote }}
{{- end }}
{{- end }}
