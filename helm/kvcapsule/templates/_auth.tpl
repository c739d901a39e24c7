{{/* The Secret with API keys: the user's, or the chart's own. */}}
{{- define "kvcapsule.keysSecret" -}}
{{- if .Values.auth.apiKeys }}{{ include "kvcapsule.fullname" . }}-api-keys
{{- else }}{{ .Values.auth.existingSecret }}
{{- end }}
{{- end }}

{{/* The key of the file of tenants, where there is one. */}}
{{- define "kvcapsule.tenantsKey" -}}
{{- if and .Values.auth.enabled .Values.auth.existingSecret }}{{ .Values.auth.tenantsKey }}{{ end }}
{{- end }}

{{/* The key of API keys in `keysSecret`, where there is one. */}}
{{- define "kvcapsule.apiKeysKey" -}}
{{- if .Values.auth.enabled }}
{{- if .Values.auth.apiKeys }}api-keys{{ else if .Values.auth.existingSecret }}{{ .Values.auth.apiKeysKey }}{{ end }}
{{- end }}
{{- end }}

{{- define "kvcapsule.authEnv" -}}
{{- if not .Values.auth.enabled }}
- name: KVCAPSULE_AUTH
  value: "false"
{{- else }}
{{- with include "kvcapsule.apiKeysKey" . }}
- name: KVCAPSULE_API_KEYS
  valueFrom:
    secretKeyRef:
      name: {{ include "kvcapsule.keysSecret" $ | quote }}
      key: {{ quote . }}
{{- end }}
{{- if and .Values.auth.existingSecret .Values.auth.adminApiKeysKey }}
- name: KVCAPSULE_ADMIN_API_KEYS
  valueFrom:
    secretKeyRef:
      name: {{ quote .Values.auth.existingSecret }}
      key: {{ quote .Values.auth.adminApiKeysKey }}
{{- end }}
{{- if include "kvcapsule.tenantsKey" . }}
- name: KVCAPSULE_TENANTS
  value: /etc/kvcapsule/tenants/tenants.json
{{- end }}
{{- end }}
{{- end }}
