{{- define "taffrail.name" -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "taffrail.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "taffrail.selector" -}}
app.kubernetes.io/name: taffrail-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "taffrail.labels" -}}
{{ include "taffrail.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "taffrail.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "taffrail.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* What the operator does in a namespace that it looks after. */}}
{{- define "taffrail.rules" -}}
# What users write: read, and say how it fares. Patching topics and groups is for finalizers.
- apiGroups: [taffrail.dev]
  resources: [brokerclusters, topics, consumergroups]
  verbs: [list, watch]
- apiGroups: [taffrail.dev]
  resources: [topics, consumergroups]
  verbs: [patch]
- apiGroups: [taffrail.dev]
  resources: [brokerclusters/status, topics/status, consumergroups/status, brokers/status]
  verbs: [patch]
# Owner references that block deletion.
- apiGroups: [taffrail.dev]
  resources: [brokerclusters/finalizers]
  verbs: [update]
# Metadata: whole objects, by compare-and-swap, never deleted.
- apiGroups: [taffrail.dev]
  resources: [clustermetadata]
  verbs: [get, create, update]
# Watched to notice one that somebody deleted.
- apiGroups: [taffrail.dev]
  resources: [partitionmaps, brokers]
  verbs: [list, watch, create, update]
# What a BrokerCluster consists of.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# To enlarge them.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: {{ if .Values.networkPolicy.enabled }}[get, list, watch, create, patch]{{ else }}[get, delete]{{ end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The BrokerCluster that helm test uses. */}}
{{- define "taffrail.testCluster" -}}
{{ if .Values.brokerCluster.create }}{{ .Values.brokerCluster.name }}{{ else }}{{ .Release.Name }}-test{{ end }}
{{- end }}
