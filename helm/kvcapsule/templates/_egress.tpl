{{/* Where routers and workers may go when the way out is restricted: DNS, Redis, and what the user adds. */}}
{{- define "kvcapsule.egress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- if .Values.redis.bundled.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "kvcapsule.selector" (dict "root" . "component" "redis") | nindent 10 }}
  ports:
    - port: redis
{{- else }}
# by its ports: a name cannot be written here, and Sentinels and Clusters tell addresses of their own
- ports:
    {{- range include "kvcapsule.redisPorts" . | fromJsonArray }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The usual ports of Redis and Sentinels, and those of the URL. */}}
{{- define "kvcapsule.redisPorts" -}}
{{- $ports := list 6379 26379 }}
{{- range regexFindAll ":[0-9]{1,5}" (regexReplaceAll "^[a-z-]+://([^/@]*@)?" .Values.redis.external.url "") -1 }}
{{- $ports = append $ports (trimPrefix ":" . | atoi) }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
