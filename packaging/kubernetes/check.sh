#!/usr/bin/env bash
# Holds the manifests, as kustomize makes them, against the schemas of Kubernetes, of the oldest release that has all fields and
# of the newest. Needs kustomize, and kubernetes-validate, which brings the schemas:
#   go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
#   pip install kubernetes-validate
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
for overlay in overlays/single overlays/postgres/{servers,migrate}; do
    kustomize build "$overlay" >"$made/manifests.yaml"
    for version in 1.29.0 1.37.0; do
        echo "== $overlay: Kubernetes $version"
        python3 -m kubernetes_validate --strict -k "$version" "$made/manifests.yaml"
    done
done
