{{/*
What the schema cannot say: values that are missing or do not go together, each by its name and with what to do. All of
them are told at one time.
*/}}
{{- define "kvcapsule.validate" -}}
{{- with include "kvcapsule.faults.nulls" . | fromJsonArray }}
{{- fail (printf "\n\nThese values are null, which takes their defaults away; leave them out, or give others:\n  - %s\n" (join "\n  - " .)) }}
{{- end }}
{{- $faults := concat
  (include "kvcapsule.faults.models" . | fromJsonArray)
  (include "kvcapsule.faults.auth" . | fromJsonArray)
  (include "kvcapsule.faults.redis" . | fromJsonArray)
  (include "kvcapsule.faults.router" . | fromJsonArray)
  (include "kvcapsule.faults.workers" . | fromJsonArray)
  (include "kvcapsule.faults.edge" . | fromJsonArray) }}
{{- if $faults }}
{{- fail (printf "\n\nThese values are missing or do not go together:\n  - %s\n" (join "\n  - " $faults)) }}
{{- end }}
{{- end }}

{{/* Of values that the chart cannot do without, those that have been taken away, each by the outermost. */}}
{{- define "kvcapsule.faults.nulls" -}}
{{- $gone := list }}
{{- range $path := .Files.Get "files/values.json" | fromJsonArray }}
{{- $at := $.Values }}
{{- $walked := list }}
{{- range $key := splitList "." $path }}
{{- if kindIs "map" $at }}
{{- $walked = append $walked $key }}
{{- $at = index $at $key }}
{{- if kindIs "invalid" $at }}{{ $gone = append $gone (join "." $walked) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson (uniq $gone) }}
{{- end }}

{{- define "kvcapsule.faults.models" -}}
{{- $faults := list }}
{{- if not .Values.models }}
{{- $faults = append $faults "models: name at least one, such as {name: emoji-vlm, source: {bundled: true}}" }}
{{- end }}
{{- $names := list }}
{{- $served := list }}
{{- $default := "" }}
{{- range $index, $model := .Values.models }}
{{- $at := printf "models[%d]" $index }}
{{- if has $model.name $names }}{{ $faults = append $faults (printf "%s.name: another model is called %s, too" $at $model.name) }}{{ end }}
{{- $names = append $names $model.name }}
{{- range prepend (default list $model.aliases) (default $model.name $model.servedName) }}
{{- if has . $served }}{{ $faults = append $faults (printf "%s: clients would mean two models by %q; change servedName or aliases" $at .) }}{{ end }}
{{- $served = append $served . }}
{{- end }}
{{- if and $model.default $default }}{{ $faults = append $faults (printf "%s.default: %s is the default already" $at $default) }}{{ end }}
{{- if $model.default }}{{ $default = $model.name }}{{ end }}
{{- $faults = concat $faults (include "kvcapsule.faults.source" (dict "at" (printf "%s.source" $at) "source" $model.source) | fromJsonArray) }}
{{- with $model.previousSource }}
{{- $faults = concat $faults (include "kvcapsule.faults.source" (dict "at" (printf "%s.previousSource" $at) "source" .) | fromJsonArray) }}
{{- end }}
{{- $classes := list }}
{{- range $class := $model.classes }}
{{- if has $class.name $classes }}{{ $faults = append $faults (printf "%s.classes: two are called %s" $at $class.name) }}{{ end }}
{{- $classes = append $classes $class.name }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "kvcapsule.faults.source" -}}
{{- $faults := list }}
{{- $source := .source }}
{{- $given := list }}
{{- range $kind := list "persistentVolumeClaim" "image" "download" "volume" "bundled" }}
{{- if get $source $kind }}{{ $given = append $given $kind }}{{ end }}
{{- end }}
{{- if ne (len $given) 1 }}
{{- $faults = append $faults (printf "%s: give exactly one of persistentVolumeClaim, image, download, volume and bundled; given: %s" .at (join ", " $given | default "none")) }}
{{- else }}
{{- $needed := dict "persistentVolumeClaim" "claimName" "image" "reference" "download" "image" }}
{{- $kind := first $given }}
{{- with get $needed $kind }}
{{- if not (get (get $source $kind) .) }}{{ $faults = append $faults (printf "%s.%s.%s is needed" $.at $kind .) }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "kvcapsule.faults.auth" -}}
{{- $faults := list }}
{{- $auth := .Values.auth }}
{{- if $auth.enabled }}
{{- if and $auth.existingSecret $auth.apiKeys }}
{{- $faults = append $faults "auth.apiKeys: auth.existingSecret is given, too; use one of them" }}
{{- else if not (or $auth.existingSecret $auth.apiKeys) }}
{{- $faults = append $faults "auth.existingSecret: name a Secret with API keys under auth.apiKeysKey (kubectl create secret generic kvcapsule-keys --from-literal=api-keys=KEY), or set auth.enabled=false to serve everybody who reaches the router" }}
{{- else if and $auth.existingSecret (not (or $auth.apiKeysKey $auth.adminApiKeysKey $auth.tenantsKey)) }}
{{- $faults = append $faults "auth.apiKeysKey: say which key of auth.existingSecret is used: this, auth.adminApiKeysKey or auth.tenantsKey" }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "kvcapsule.faults.redis" -}}
{{- $faults := list }}
{{- $bundled := .Values.redis.bundled }}
{{- $external := .Values.redis.external }}
{{- $isExternal := or $external.url $external.urlKey }}
{{- if and $bundled.enabled $isExternal }}
{{- $faults = append $faults "redis.external: redis.bundled.enabled is true, too; set it to false" }}
{{- else if and (not $bundled.enabled) (not $isExternal) }}
{{- $faults = append $faults "redis.external.url: say where Redis is, such as redis://HOST:6379, or set redis.bundled.enabled=true" }}
{{- end }}
{{- if and $bundled.enabled $bundled.existingSecret (not $bundled.passwordKey) }}
{{- $faults = append $faults "redis.bundled.passwordKey: say which key of redis.bundled.existingSecret has the password" }}
{{- end }}
{{- if not $bundled.enabled }}
{{- $faults = concat $faults (include "kvcapsule.faults.externalRedis" $external | fromJsonArray) }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "kvcapsule.faults.externalRedis" -}}
{{- $faults := list }}
{{- if and .url .urlKey }}{{ $faults = append $faults "redis.external.urlKey: redis.external.url is given, too; use one of them" }}{{ end }}
{{- if and .url (not (regexMatch "^redis(s?)(-sentinel|-cluster)?://" .url)) }}
{{- $faults = append $faults "redis.external.url: its scheme is one of redis://, redis-sentinel://, redis-cluster:// and the same with rediss" }}
{{- end }}
{{- if regexMatch "^[a-z-]+://[^/@]*:[^/@]+@" .url }}
{{- $faults = append $faults "redis.external.url: it holds a password, which releases would keep in plain text; use redis.external.passwordKey" }}
{{- end }}
{{- range $field := list "urlKey" "passwordKey" "sentinelPasswordKey" "caKey" "certKey" "keyKey" }}
{{- if and (get $ $field) (not $.existingSecret) }}
{{- $faults = append $faults (printf "redis.external.existingSecret: name the Secret that has redis.external.%s" $field) }}
{{- end }}
{{- end }}
{{- if ne (empty .certKey) (empty .keyKey) }}
{{- $faults = append $faults "redis.external.certKey: a certificate and its key go together; give redis.external.keyKey, too, or neither" }}
{{- end }}
{{- if and .url (not (hasPrefix "rediss" .url)) (or .caKey .certKey .serverName) }}
{{- $faults = append $faults "redis.external.url: certificates and serverName are of TLS; its scheme is to begin with rediss" }}
{{- end }}
{{- if and .url (not (contains "-sentinel://" .url)) (or .sentinelUsername .sentinelPasswordKey) }}
{{- $faults = append $faults "redis.external.sentinelUsername, sentinelPasswordKey: redis.external.url names no Sentinels" }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "kvcapsule.faults.router" -}}
{{- $at := dict "at" "router" "part" .Values.router "prometheusUrl" .Values.metrics.prometheusUrl }}
{{- include "kvcapsule.faults.workload" $at }}
{{- end }}

{{- define "kvcapsule.faults.workers" -}}
{{- $faults := list }}
{{- $names := list }}
{{- range (include "kvcapsule.workers" . | fromJson).workers }}
{{- $at := printf "worker, as class %s of model %s has it" .class .model.name }}
{{- $faults = concat $faults (include "kvcapsule.faults.workload" (dict "at" $at "part" .part "prometheusUrl" $.Values.metrics.prometheusUrl) | fromJsonArray) }}
{{- if has .fullName $names }}
{{- $faults = append $faults (printf "models: two classes would make the StatefulSet %s; rename a model or a class" .fullName) }}
{{- end }}
{{- $names = append $names .fullName }}
{{- end }}
{{- toJson (uniq $faults) }}
{{- end }}

{{- define "kvcapsule.faults.workload" -}}
{{- $faults := list }}
{{- range $key, $value := .part.config }}
{{- if and (kindIs "slice" $value) (contains "," (join "" $value)) }}
{{- $faults = append $faults (printf "%s: an entry of config.%s has a comma, which stands between entries" $.at $key) }}
{{- end }}
{{- end }}
{{- $scaling := .part.autoscaling }}
{{- if ne $scaling.kind "none" }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- $faults = append $faults (printf "%s: autoscaling.minReplicas is above autoscaling.maxReplicas" .at) }}
{{- end }}
{{- $asks := or $scaling.queueSeconds $scaling.kvPressure }}
{{- $further := ternary $scaling.triggers $scaling.metrics (eq $scaling.kind "keda") }}
{{- if not (or $asks $scaling.cpuUtilization $further) }}
{{- $faults = append $faults (printf "%s: autoscaling goes by nothing; set cpuUtilization, queueSeconds, kvPressure (workers), metrics (hpa) or triggers (keda)" .at) }}
{{- end }}
{{- if and (eq $scaling.kind "keda") $asks (not .prometheusUrl) }}
{{- $faults = append $faults (printf "metrics.prometheusUrl: say where KEDA asks Prometheus (%s: autoscaling.kind is keda)" .at) }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "kvcapsule.faults.edge" -}}
{{- $faults := list }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}
{{- $faults = append $faults "gateway.parentRefs: name the Gateway that the route belongs to" }}
{{- end }}
{{- toJson $faults }}
{{- end }}
