{{/* Labels of every object. */}}
{{- define "keywheel.labels" -}}
{{ include "keywheel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Labels that the Deployment finds its pod by; they may never change. */}}
{{- define "keywheel.selector" -}}
app.kubernetes.io/name: keywheel
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Where a ClusterIamBackend's login Secret lies. */}}
{{- define "keywheel.clusterResourceNamespace" -}}
{{ .Values.clusterResourceNamespace | default .Release.Namespace }}
{{- end }}

{{/* The prefix of cluster-scoped names: two releases in one cluster do not meet. */}}
{{- define "keywheel.clusterName" -}}
{{ .Release.Name }}-controller
{{- end }}
