{{- define "conclave.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for the names that are made from it. */}}
{{- define "conclave.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "conclave.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "conclave.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "conclave.selector" -}}
app.kubernetes.io/name: {{ include "conclave.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "conclave.labels" -}}
{{ include "conclave.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "conclave.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "conclave.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "conclave.peers" -}}
{{ include "conclave.fullname" . }}-peers
{{- end -}}

{{/* The domain below which each member has its name. */}}
{{- define "conclave.domain" -}}
{{ include "conclave.peers" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- define "conclave.clientScheme" -}}
{{ .Values.tls.client.enabled | ternary "https" "http" }}
{{- end -}}

{{- define "conclave.peerScheme" -}}
{{ .Values.tls.peer.enabled | ternary "https" "http" }}
{{- end -}}

{{- define "conclave.initialCluster" -}}
{{- $members := list -}}
{{- range $i := until (int .Values.replicas) -}}
{{- $name := printf "%s-%d" (include "conclave.fullname" $) $i -}}
{{- $members = append $members (printf "%s=%s://%s.%s:2380" $name (include "conclave.peerScheme" $) $name (include "conclave.domain" $)) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{/* The secret with the certificates of `client` or `peer`: (list . "client"). */}}
{{- define "conclave.secret" -}}
{{- $root := index . 0 -}}
{{- $port := index . 1 -}}
{{- default (printf "%s-%s-tls" (include "conclave.fullname" $root) $port) (index $root.Values.tls $port).secretName -}}
{{- end -}}
