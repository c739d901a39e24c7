{{/* Folders that a pod reads models from, as a list under `folders`: those of `models`, the previous revisions with `previous`. */}}
{{- define "kvcapsule.folders" -}}
{{- $folders := list }}
{{- range $model := .models }}
{{- $folders = append $folders (dict "volume" (printf "model-%s" $model.name) "path" (printf "/models/%s" $model.name) "source" $model.source) }}
{{- if and $.previous $model.previousSource }}
{{- $folders = append $folders (dict "volume" (printf "previous-%s" $model.name) "path" (printf "/models-previous/%s" $model.name) "source" $model.previousSource) }}
{{- end }}
{{- end }}
{{- dict "folders" $folders | toJson }}
{{- end }}

{{- define "kvcapsule.modelVolumes" -}}
{{- range (include "kvcapsule.folders" . | fromJson).folders }}
{{- $source := .source }}
{{- if not $source.bundled }}
- name: {{ quote .volume }}
  {{- with $source.persistentVolumeClaim }}
  persistentVolumeClaim:
    claimName: {{ quote .claimName }}
    readOnly: true
  {{- end }}
  {{- with $source.image }}
  image:
    reference: {{ quote .reference }}
    pullPolicy: {{ default "IfNotPresent" .pullPolicy }}
  {{- end }}
  {{- with $source.download }}
  emptyDir:
    {{- with .size }}
    sizeLimit: {{ . }}
    {{- else }} {}
    {{- end }}
  {{- end }}
  {{- with $source.volume }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kvcapsule.modelMounts" -}}
{{- range (include "kvcapsule.folders" . | fromJson).folders }}
{{- if not .source.bundled }}
{{- $of := mustMergeOverwrite (dict) (default dict .source.persistentVolumeClaim) (default dict .source.image) }}
- name: {{ quote .volume }}
  mountPath: {{ quote .path }}
  readOnly: true
  {{- with $of.subPath }}
  subPath: {{ quote . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The init containers of models that are downloaded: `root`, `models`, `part`, `router`: whether the pod is one. */}}
{{- define "kvcapsule.modelDownloads" -}}
{{- $here := . }}
{{- range (include "kvcapsule.folders" . | fromJson).folders }}
{{- $folder := . }}
{{- with .source.download }}
- name: {{ quote $folder.volume }}
  image: {{ quote .image }}
  imagePullPolicy: {{ $here.root.Values.image.pullPolicy }}
  {{- with .command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with ternary (default .args .routerArgs) .args (eq $here.component "router") }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  env:
    - name: MODEL_DIR
      value: {{ quote $folder.path }}
  {{- with .secretName }}
  envFrom:
    - secretRef:
        name: {{ quote . }}
  {{- end }}
  {{- with $here.part.containerSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: {{ quote $folder.volume }}
      mountPath: {{ quote $folder.path }}
    - name: tmp
      mountPath: /tmp
{{- end }}
{{- end }}
{{- end }}

{{/* Every class of every model with what `worker` says, as a list under `workers`; each has `model`, `class` and `fullName`. */}}
{{- define "kvcapsule.workers" -}}
{{- $workers := list }}
{{- range $model := .Values.models }}
{{- range $class := default (list (dict "name" "default")) $model.classes }}
{{- $worker := mustMergeOverwrite (deepCopy $.Values.worker) (deepCopy $class) }}
{{- $name := include "kvcapsule.workerName" (dict "root" $ "model" $model.name "class" $class.name) }}
{{- $workers = append $workers (dict "model" $model "class" $class.name "fullName" $name "part" $worker) }}
{{- end }}
{{- end }}
{{- dict "workers" $workers | toJson }}
{{- end }}

{{/* The file of models that routers read. */}}
{{- define "kvcapsule.modelsFile" -}}
{{- $models := list }}
{{- range .Values.models }}
{{- $folders := list (printf "/models/%s" .name) }}
{{- if .previousSource }}{{ $folders = append $folders (printf "/models-previous/%s" .name) }}{{ end }}
{{- $models = append $models (dict "name" (default .name .servedName) "folders" $folders "aliases" (default list .aliases) "default" (default false .default)) }}
{{- end }}
{{- dict "models" $models | toPrettyJson }}
{{- end }}
