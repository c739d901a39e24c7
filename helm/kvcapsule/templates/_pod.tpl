{{/* Metadata of a pod template: `root`, `component`, `part` with podLabels and podAnnotations, `checksums`, `metricsPort`. */}}
{{- define "kvcapsule.podMetadata" -}}
{{- $scrape := dict }}
{{- if and .metricsPort (eq .root.Values.metrics.scrape "annotations") }}
{{- $scrape = dict "prometheus.io/scrape" "true" "prometheus.io/path" "/metrics" "prometheus.io/port" (toString .metricsPort) }}
{{- end }}
{{- $annotations := mustMergeOverwrite (deepCopy (default dict .root.Values.commonAnnotations)) $scrape (default dict .checksums) (deepCopy (default dict .part.podAnnotations)) -}}
labels:
  {{- mustMergeOverwrite (deepCopy (default dict .root.Values.commonLabels)) (deepCopy (default dict .part.podLabels)) (include "kvcapsule.selector" . | fromYaml) | toYaml | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the specs of all pods have in common: `root`, `component`, `part`, and of workers `model` and `class`. */}}
{{- define "kvcapsule.podSpec" -}}
serviceAccountName: {{ include "kvcapsule.serviceAccount" .root | quote }}
automountServiceAccountToken: false
# the variables that Kubernetes makes of services of the namespace are called as settings are
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ quote . }}
  {{- end }}
{{- end }}
{{- with .part.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ quote . }}
{{- end }}
{{- with .part.runtimeClassName }}
runtimeClassName: {{ quote . }}
{{- end }}
{{- $spread := .part.topologySpread }}
{{- if and $spread.enabled $spread.topologyKeys }}
topologySpreadConstraints:
  {{- $here := . }}
  {{- range $spread.topologyKeys | uniq }}
  - topologyKey: {{ quote . }}
    maxSkew: {{ $spread.maxSkew }}
    whenUnsatisfiable: {{ $spread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "kvcapsule.selector" $here | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Settings of a part's `config` as variables, named as the part's own help names them. */}}
{{- define "kvcapsule.settings" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := get $ $key }}
- name: KVCAPSULE_{{ snakecase $key | upper }}
  value: {{ if kindIs "slice" $value }}{{ join "," $value | quote }}{{ else if kindIs "string" $value }}{{ quote $value }}{{ else }}{{ toJson $value | quote }}{{ end }}
{{- end }}
{{- end }}

{{/* What a pod gets of its probes beside what they ask. */}}
{{- define "kvcapsule.probe" -}}
periodSeconds: {{ .periodSeconds }}
timeoutSeconds: {{ .timeoutSeconds }}
failureThreshold: {{ .failureThreshold }}
{{- end }}

{{- define "kvcapsule.startupProbe" -}}
periodSeconds: 5
timeoutSeconds: 5
failureThreshold: {{ div (add .startupSeconds 4) 5 }}
{{- end }}

{{/* Waits before SIGTERM, so that load balancers leave the pod out first. */}}
{{- define "kvcapsule.preStop" -}}
{{- if .preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .preStopSeconds }}
{{- end }}
{{- end }}

{{/* What a part needs to end by itself: the wait before, its drain, and ten seconds to close. */}}
{{- define "kvcapsule.graceSeconds" -}}
{{ add .preStopSeconds .drainSeconds 10 }}
{{- end }}

{{/* Resources with GPUs and huge pages. */}}
{{- define "kvcapsule.resources" -}}
{{- $resources := deepCopy (default dict .resources) }}
{{- $limits := default dict $resources.limits }}
{{- if .gpu.count }}{{ $_ := set $limits .gpu.resource (toString .gpu.count) }}{{ end }}
{{- if .hugePages.size }}{{ $_ := set $limits (printf "hugepages-%s" .hugePages.size) .hugePages.amount }}{{ end }}
{{- if $limits }}{{ $_ := set $resources "limits" $limits }}{{ end }}
{{- toYaml $resources }}
{{- end }}
