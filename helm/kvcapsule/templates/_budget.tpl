{{/* A PodDisruptionBudget: `root`, `component`, `name`, `budget`, and of workers `model` and `class`. */}}
{{- define "kvcapsule.disruptionBudget" -}}
{{- if .budget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ quote .name }}
  {{- include "kvcapsule.metadata" . | nindent 2 }}
spec:
  {{- if hasKey .budget "minAvailable" }}
  minAvailable: {{ .budget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ .budget.maxUnavailable }}
  {{- end }}
  # a pod that is not ready serves nobody, so it is no reason to keep its node
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "kvcapsule.selector" . | nindent 6 }}
{{- end }}
{{- end }}
