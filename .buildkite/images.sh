#!/usr/bin/env bash
# Builds the three images of this commit, and pushes them where IMAGE_REGISTRY names a registry; those of a
# release, which tag v1.2.3 makes of a commit, as 1.2.3 too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Lambda takes an image only, not the index that BuildKit's attestations make of it.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

engine=""
for candidate in docker podman; do
  if "$candidate" info >/dev/null 2>&1; then
    engine="$candidate"
    break
  fi
done
if [ -z "$engine" ]; then
  echo "+++ No images built"
  echo "Neither docker nor podman runs on this agent, so the images of this commit were not built."
  echo "Jobs on AWS will find an image only if another agent pushed it for $BUILDKITE_COMMIT."
  exit 0
fi

for name in default train-gpu serve; do
  image="${IMAGE_REGISTRY:-modelbuild}/$name:$BUILDKITE_COMMIT"
  echo "--- $engine build $image"
  "$engine" build --file "docker/$name/Dockerfile" --tag "$image" .
  if [ -n "${IMAGE_REGISTRY:-}" ]; then
    echo "--- $engine push $image"
    "$engine" push "$image"
    # An image with the same content may have a digest in other repositories too.
    digest="$("$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" |
      grep "^${image%:*}@" | head -n 1)"
    buildkite-agent meta-data set "image/$image" "$digest"
    if [ -n "${BUILDKITE_TAG:-}" ]; then
      release="${image%:*}:${BUILDKITE_TAG#v}"
      echo "--- $engine push $release"
      "$engine" tag "$image" "$release"
      "$engine" push "$release"
    fi
  fi
done
