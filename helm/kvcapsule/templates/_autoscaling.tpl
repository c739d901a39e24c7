{{/*
Scaling of one workload: `root`, `component`, `name`, `kind` of the workload, `scaling`, and of workers `model` and `class`.
Queue time is that of the whole cluster, since it is routers that requests wait in; KV pressure is the workload's own.
*/}}
{{- define "kvcapsule.autoscaler" -}}
{{- if eq .scaling.kind "hpa" }}
{{- include "kvcapsule.horizontalPodAutoscaler" . }}
{{- else if eq .scaling.kind "keda" }}
{{- include "kvcapsule.scaledObject" . }}
{{- end }}
{{- end }}

{{- define "kvcapsule.horizontalPodAutoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ quote .name }}
  {{- include "kvcapsule.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ quote .name }}
  minReplicas: {{ .scaling.minReplicas }}
  maxReplicas: {{ .scaling.maxReplicas }}
  {{- with .scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  metrics:
    {{- if .scaling.cpuUtilization }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .scaling.cpuUtilization }}
    {{- end }}
    {{- if .scaling.queueSeconds }}
    - type: External
      external:
        metric:
          name: kvcapsule_queue_wait_seconds_p90
          selector:
            matchLabels:
              namespace: {{ quote .root.Release.Namespace }}
        target:
          type: Value
          value: {{ include "kvcapsule.milli" .scaling.queueSeconds | quote }}
    {{- end }}
    {{- if .scaling.kvPressure }}
    - type: Pods
      pods:
        metric:
          name: kvcapsule_kv_pressure
        target:
          type: AverageValue
          averageValue: {{ include "kvcapsule.milli" .scaling.kvPressure }}
    {{- end }}
    {{- with .scaling.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* A number as a quantity, in thousandths. */}}
{{- define "kvcapsule.milli" -}}
{{ mulf . 1000 | ceil | int64 }}m
{{- end }}

{{- define "kvcapsule.scaledObject" -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ quote .name }}
  {{- $paused := ternary (dict "autoscaling.keda.sh/paused" "true") dict .scaling.paused }}
  {{- include "kvcapsule.metadata" (mustMerge (dict "annotations" $paused) .) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ quote .name }}
  minReplicaCount: {{ .scaling.minReplicas }}
  maxReplicaCount: {{ .scaling.maxReplicas }}
  pollingInterval: {{ .scaling.pollingSeconds }}
  cooldownPeriod: {{ .scaling.cooldownSeconds }}
  {{- with .scaling.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    {{- if .scaling.cpuUtilization }}
    - type: cpu
      metricType: Utilization
      metadata:
        value: {{ quote .scaling.cpuUtilization }}
    {{- end }}
    {{- if .scaling.queueSeconds }}
    {{- $query := include "kvcapsule.queueQuery" . }}
    {{- include "kvcapsule.prometheusTrigger" (dict "root" .root "name" "queue-wait" "query" $query "threshold" .scaling.queueSeconds) | nindent 4 }}
    {{- end }}
    {{- if .scaling.kvPressure }}
    {{- $query := include "kvcapsule.pressureQuery" . }}
    {{- include "kvcapsule.prometheusTrigger" (dict "root" .root "name" "kv-pressure" "query" $query "threshold" .scaling.kvPressure) | nindent 4 }}
    {{- end }}
    {{- with .scaling.triggers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* `Value`: the whole is held against the threshold, as a time and a share have to be. */}}
{{- define "kvcapsule.prometheusTrigger" -}}
- type: prometheus
  name: {{ quote .name }}
  metricType: Value
  metadata:
    serverAddress: {{ quote .root.Values.metrics.prometheusUrl }}
    query: {{ quote .query }}
    threshold: {{ quote .threshold }}
{{- end }}

{{- define "kvcapsule.queueQuery" -}}
histogram_quantile(0.9, sum by (le) (rate(kvcapsule_router_queue_wait_seconds_bucket{namespace="{{ .root.Release.Namespace }}"}[2m]))) >= 0 or vector(0)
{{- end }}

{{- define "kvcapsule.pressureQuery" -}}
{{- $of := printf "namespace=%q, pod=~%q" .root.Release.Namespace (printf "%s-[0-9]+" .name) -}}
sum(kvcapsule_worker_pages{state=~"raw|rows|capsule", {{ $of }}}) / sum(kvcapsule_worker_pages{ {{- $of -}} })
{{- end }}
