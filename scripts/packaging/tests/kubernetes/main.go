// Reads manifests from the files that are named, and refuses what Kubernetes' own types do not have: unknown fields, wrong types,
// unknown kinds. Kinds of other projects are counted as not checked.
package main

import (
	"fmt"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// The type behind a kind; nil with true: it belongs to another project.
func typed(of head) (any, bool) {
	switch of.APIVersion + " " + of.Kind {
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}, true
	case "v1 Service":
		return &corev1.Service{}, true
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}, true
	case "policy/v1 PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}, true
	case "cert-manager.io/v1 Certificate", "monitoring.coreos.com/v1 ServiceMonitor", "monitoring.coreos.com/v1 PrometheusRule":
		return nil, true
	}
	return nil, false
}

func main() {
	checked, others, failed := 0, map[string]bool{}, false
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, document := range strings.Split(string(text), "\n---\n") {
			var of head
			err := yaml.Unmarshal([]byte(document), &of)
			into, known := typed(of)
			switch {
			case err != nil:
			case of.Kind == "" && strings.TrimSpace(document) == "":
				continue
			case !known:
				err = fmt.Errorf("unknown kind %q of %q", of.Kind, of.APIVersion)
			case into == nil:
				others[of.Kind] = true
				continue
			default:
				err = yaml.UnmarshalStrict([]byte(document), into)
				checked++
			}
			if err != nil {
				failed = true
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", file, of.Kind, err)
			}
		}
	}
	if failed || checked == 0 {
		os.Exit(1)
	}
	names := []string{}
	for name := range others {
		names = append(names, name)
	}
	fmt.Printf("%d objects have the fields of Kubernetes' types; not checked: %d kinds of other projects\n", checked, len(names))
}
