{{/* Where secrets and certificates of Redis are mounted. */}}
{{- define "kvcapsule.redisDir" -}}/etc/kvcapsule/redis{{- end }}

{{/* Keys of the Secret of an external Redis that are mounted, by the setting that names the file. */}}
{{- define "kvcapsule.redisFiles" -}}
{{- $files := dict }}
{{- if .Values.redis.bundled.enabled }}
{{- if .Values.redis.bundled.existingSecret }}{{ $_ := set $files "PASSWORD" .Values.redis.bundled.passwordKey }}{{ end }}
{{- else }}
{{- $keys := dict "PASSWORD" "passwordKey" "SENTINEL_PASSWORD" "sentinelPasswordKey" "CA" "caKey" "CERT" "certKey" "KEY" "keyKey" }}
{{- range $setting, $field := $keys }}
{{- with get $.Values.redis.external $field }}{{ $_ := set $files $setting . }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $files }}
{{- end }}

{{- define "kvcapsule.redisSecret" -}}
{{- ternary .Values.redis.bundled.existingSecret .Values.redis.external.existingSecret .Values.redis.bundled.enabled }}
{{- end }}

{{- define "kvcapsule.redisEnv" -}}
{{- $external := .Values.redis.external }}
- name: KVCAPSULE_REDIS
{{- if .Values.redis.bundled.enabled }}
  value: redis://{{ include "kvcapsule.fullname" . }}-redis:6379
{{- else if $external.urlKey }}
  valueFrom:
    secretKeyRef:
      name: {{ quote $external.existingSecret }}
      key: {{ quote $external.urlKey }}
{{- else }}
  value: {{ quote $external.url }}
{{- end }}
{{- range $setting, $key := include "kvcapsule.redisFiles" . | fromJson }}
- name: KVCAPSULE_REDIS_{{ $setting }}_FILE
  value: {{ include "kvcapsule.redisDir" $ }}/{{ lower $setting }}
{{- end }}
{{- if not .Values.redis.bundled.enabled }}
{{- with $external.serverName }}
- name: KVCAPSULE_REDIS_SERVER_NAME
  value: {{ quote . }}
{{- end }}
{{- with $external.sentinelUsername }}
- name: KVCAPSULE_REDIS_SENTINEL_USERNAME
  value: {{ quote . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kvcapsule.redisVolume" -}}
{{- with include "kvcapsule.redisFiles" . | fromJson }}
- name: redis
  secret:
    secretName: {{ include "kvcapsule.redisSecret" $ | quote }}
    defaultMode: 0440
    items:
      {{- range $setting, $key := . }}
      - key: {{ quote $key }}
        path: {{ lower $setting | quote }}
      {{- end }}
{{- end }}
{{- end }}

{{- define "kvcapsule.redisMount" -}}
{{- if include "kvcapsule.redisFiles" . | fromJson }}
- name: redis
  mountPath: {{ include "kvcapsule.redisDir" . | quote }}
  readOnly: true
{{- end }}
{{- end }}

{{/* Of the bundled one. Snapshots are off: a fork of it would double its memory. */}}
{{- define "kvcapsule.redisConf" -}}
{{- $redis := .Values.redis.bundled -}}
bind {{ ternary "::" "0.0.0.0" .Values.ipv6 }}
port 6379
# without a password it is the NetworkPolicy that keeps others out
protected-mode no
dir /data
maxmemory {{ $redis.maxMemory }}
maxmemory-policy noeviction
save ""
appendonly {{ ternary "yes" "no" $redis.persistence.enabled }}
{{- if $redis.persistence.enabled }}
appendfsync {{ $redis.persistence.fsync }}
{{- end }}
{{- end }}
