{{/* The first part of all names of objects: 40 letters at most, so that the rest has room. */}}
{{- define "kvcapsule.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride }}
{{- $joined := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) }}
{{- include "kvcapsule.shorten" (dict "name" (default $joined .Values.fullnameOverride) "most" 40) }}
{{- end }}

{{/* A name that is too long keeps its beginning and gets a hash of the whole, so that two such names stay two. */}}
{{- define "kvcapsule.shorten" -}}
{{- if le (len .name) (int .most) }}{{ .name }}
{{- else }}{{ printf "%s-%s" (.name | trunc (sub .most 9 | int) | trimSuffix "-") (sha256sum .name | trunc 8) }}
{{- end }}
{{- end }}

{{/* Of a StatefulSet: 52 letters at most, since its pods' labels add a dash and ten more. */}}
{{- define "kvcapsule.workerName" -}}
{{- $name := printf "%s-worker-%s-%s" (include "kvcapsule.fullname" .root) .model .class }}
{{- include "kvcapsule.shorten" (dict "name" $name "most" 52) }}
{{- end }}

{{- define "kvcapsule.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "kvcapsule.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Labels by which objects of one component are found; they never change. */}}
{{- define "kvcapsule.selector" -}}
app.kubernetes.io/name: {{ include "kvcapsule.shorten" (dict "name" (default .root.Chart.Name .root.Values.nameOverride) "most" 63) | quote }}
app.kubernetes.io/instance: {{ quote .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .model }}
kvcapsule.io/model: {{ quote . }}
{{- end }}
{{- with .class }}
kvcapsule.io/class: {{ quote . }}
{{- end }}
{{- end }}

{{/* The metadata of an object but its name: `root`, `component`, and where they apply `model`, `class`, `annotations`, `labels`. */}}
{{- define "kvcapsule.metadata" -}}
{{- $own := include "kvcapsule.selector" . | fromYaml }}
{{- $release := dict "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63)
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "kvcapsule" -}}
namespace: {{ quote .root.Release.Namespace }}
labels:
  {{- mustMergeOverwrite (deepCopy (default dict .root.Values.commonLabels)) (default dict .labels) $release $own | toYaml | nindent 2 }}
{{- with mustMergeOverwrite (deepCopy (default dict .root.Values.commonAnnotations)) (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* `root`, `image` with repository, tag and digest, `own`: whether it is one of the project's. */}}
{{- define "kvcapsule.image" -}}
{{- $registry := ternary .root.Values.image.registry "" .own }}
{{- $repository := ternary (printf "%s/%s" $registry .image.repository) .image.repository (ne $registry "") }}
{{- if .image.digest }}{{ printf "%s@%s" $repository .image.digest }}
{{- else }}{{ printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}
