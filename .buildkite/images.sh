#!/usr/bin/env bash
# Provides the images of this commit in the registry that IMAGE_REGISTRY names.
#
# The tag of an image is a hash of the files that it is made from: an image that the registry has under this tag
# is not built again. Meta-data image/<registry>/<name>:<commit> then holds the image by its digest, which the
# train plugin and stack.sh use. A build of the git tag v1.2.3 also pushes the images as 1.2.3.
#
# IMAGE_REGISTRY   such as 123456789012.dkr.ecr.us-east-1.amazonaws.com; without it nothing is built
# IMAGE_ENGINE     docker or podman; by default the first of them that answers. When it is set and IMAGE_REGISTRY is
#                  not, the images are built and stay on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Lambda takes an image only, not the index that BuildKit's attestations make of it.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

# Ends the step with 1, also where an engine exited with 125, which the agent takes for a job that never ran.
fail() {
  printf '^^^ +++\nimages: %s\n' "$1" >&2
  exit 1
}

# Prints the engine that builds.
find_engine() {
  local engine
  for engine in ${IMAGE_ENGINE:-docker podman}; do
    if "$engine" info >/dev/null 2>&1; then
      echo "$engine"
      return
    fi
  done
  fail "${IMAGE_ENGINE:-neither docker nor podman} does not answer 'info' on this agent: run the step on agents with \
a container engine, or name the engine with IMAGE_ENGINE"
}

# A password of ECR is valid for twelve hours; agents log in to other registries by themselves.
log_in() {
  local region
  region="$(sed -nE 's/^[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.(aws|amazonwebservices\.com\.cn)).*/\2/p' \
    <<<"$IMAGE_REGISTRY")"
  if [ -n "$region" ]; then
    echo "--- :ecr: Logging in to $IMAGE_REGISTRY"
    command -v aws >/dev/null || fail "aws is not on PATH: install the AWS CLI on the agents of this step"
    aws ecr get-login-password --region "$region" |
      "$engine" login --username AWS --password-stdin "${IMAGE_REGISTRY%%/*}" ||
      fail "$engine could not log in to ${IMAGE_REGISTRY%%/*}: see above; docs/setup.md names the permissions of this step"
  fi
}

# Prints a hash of the files that the Dockerfile of an image names, as the commit has them.
content_tag() {
  local dockerfile="docker/$1/Dockerfile"
  { echo "$dockerfile" && echo .dockerignore && sed -n 's/^COPY \([^ ]*\) .*/\1/p' "$dockerfile"; } |
    while read -r path; do git rev-parse "HEAD:$path" || exit; done | git hash-object --stdin | cut -c 1-16
}

# Prints the digest of an image in the registry; fails when the registry does not have the image.
digest_in_registry() {
  case "$engine" in
  docker) docker manifest inspect --verbose "$1" 2>/dev/null | sed -nE 's/.*"digest": "(sha256:[0-9a-f]{64})".*/\1/p' | head -n 1 | grep . ;;
  podman) skopeo inspect --no-tags --override-os linux --override-arch amd64 --format '{{.Digest}}' "docker://$1" 2>/dev/null ;;
  esac
}

# Pushes an image and prints its digest in the registry.
push_image() {
  case "$engine" in
  docker) docker push --quiet "$1" >&2 && digest_in_registry "$1" ;;
  # The digest that podman itself records for an image is not the one that the registry computes.
  podman) podman push --quiet --digestfile "$scratch/digest" "$1" >&2 && cat "$scratch/digest" ;;
  esac
}

# Gives the image of a digest the version of this release as another tag, unless it has that tag already.
tag_release() {
  local repository="$1" digest="$2" release="$1:${BUILDKITE_TAG#v}"
  if [ "$(digest_in_registry "$release")" != "$digest" ]; then
    echo "--- :label: Tagging $release"
    if ! {
      "$engine" pull --quiet --platform linux/amd64 "$repository@$digest" &&
        "$engine" tag "$repository@$digest" "$release" && push_image "$release" >/dev/null
    }; then
      fail "$repository@$digest could not be tagged as ${BUILDKITE_TAG#v}: see above"
    fi
  fi
}

build_image() {
  echo "--- :docker: Building $2"
  "$engine" build --platform linux/amd64 --file "docker/$1/Dockerfile" --tag "$2" . ||
    fail "docker/$1/Dockerfile could not be built: see above; $engine has to reach the registry of its base image, and \
the package index"
}

provide_image() {
  local repository="$IMAGE_REGISTRY/$1" tag digest
  tag="$(content_tag "$1")"
  if digest="$(digest_in_registry "$repository:$tag")"; then
    echo "--- :white_check_mark: $repository:$tag is in the registry and is not built again"
  else
    build_image "$1" "$repository:$tag"
    echo "--- :arrow_up: Pushing $repository:$tag"
    # Another build may have pushed the same content first, where tags cannot be moved.
    digest="$(push_image "$repository:$tag" || digest_in_registry "$repository:$tag")" ||
      fail "$repository:$tag could not be pushed: see above; docs/setup.md names the permissions of this step"
  fi
  buildkite-agent meta-data set "image/$repository:$BUILDKITE_COMMIT" "$repository@$digest"
  if [ -n "${BUILDKITE_TAG:-}" ]; then tag_release "$repository" "$digest"; fi
}

images=(default train-gpu serve serve-onnx)
if [ -z "${IMAGE_REGISTRY:-}" ] && [ -z "${IMAGE_ENGINE:-}" ]; then
  echo "+++ No images built"
  echo "IMAGE_REGISTRY is not set, and only images in a registry can be used by jobs on AWS. On a laptop, jobs are"
  echo "processes and need no image; 'modelbuild local run --env IMAGE_ENGINE=docker' builds the images all the same."
  exit 0
fi
engine="$(find_engine)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if [ -z "${IMAGE_REGISTRY:-}" ]; then
  for name in "${images[@]}"; do build_image "$name" "modelbuild/$name:$(content_tag "$name")"; done
  exit 0
fi
log_in
if [ "$engine" = podman ] && ! command -v skopeo >/dev/null; then
  echo "skopeo is not on PATH of this agent, so podman cannot ask the registry and builds every image."
fi
for name in "${images[@]}"; do provide_image "$name"; done
