#!/usr/bin/env bash
# Deploys infra/training.yaml into the account of this agent, in its default VPC unless
# SUBNET_IDS and SECURITY_GROUP_IDS (comma-separated) name others. KMS_KEY_ARN names a KMS key for what the stack
# keeps. Parameters of the stack that are not set here keep the values that it has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export AWS_PAGER=""

found="$(mktemp -d)"
trap 'rm -rf "$found"' EXIT
lookups=()

# Asks AWS in the background: look_up <name> <arguments of aws…>; `answer <name>` prints its answer. Each start of the
# AWS CLI takes about a second.
look_up() {
  local name="$1"
  shift
  aws "$@" --output text >"$found/$name" &
  lookups+=("$!")
}

wait_for_lookups() {
  local lookup
  for lookup in "${lookups[@]}"; do wait "$lookup"; done
  lookups=()
}

answer() {
  cat "$found/$1"
}

echo "--- Looking up the network and the secrets"
look_up buildkite_secret secretsmanager describe-secret --secret-id modelbuild/buildkite --query ARN
look_up wandb_secret secretsmanager describe-secret --secret-id modelbuild/wandb --query ARN
if [ -z "${SUBNET_IDS:-}" ] && [ -z "${SECURITY_GROUP_IDS:-}" ]; then
  look_up vpc ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[0].VpcId'
  wait_for_lookups
  vpc="$(answer vpc)"
  if [ "$vpc" = None ]; then
    echo "This account has no default VPC: set SUBNET_IDS and SECURITY_GROUP_IDS." >&2
    exit 1
  fi
  look_up subnets ec2 describe-subnets --filters "Name=vpc-id,Values=$vpc" --query 'Subnets[].SubnetId'
  look_up groups ec2 describe-security-groups \
    --filters "Name=vpc-id,Values=$vpc" Name=group-name,Values=default --query 'SecurityGroups[0].GroupId'
  wait_for_lookups
  SUBNET_IDS="$(answer subnets | tr '[:space:]' ',')"
  SECURITY_GROUP_IDS="$(answer groups)"
fi
if [ -z "${SUBNET_IDS:-}" ] || [ -z "${SECURITY_GROUP_IDS:-}" ]; then
  echo "Only one of SUBNET_IDS and SECURITY_GROUP_IDS is set: set both, or neither for the default VPC." >&2
  exit 1
fi
if [ "${#lookups[@]}" -gt 0 ]; then wait_for_lookups; fi
buildkite_secret="$(answer buildkite_secret)"
wandb_secret="$(answer wandb_secret)"

# The step images records the digest; without a registry it records nothing.
image="${IMAGE_REGISTRY:-modelbuild}/default:$BUILDKITE_COMMIT"
image="$(buildkite-agent meta-data get "image/$image" --default "$image" --log-level error)"

parameters=(
  "Image=$image"
  "SubnetIds=${SUBNET_IDS%,}"
  "SecurityGroupIds=$SECURITY_GROUP_IDS"
  "BuildkiteSecretArn=$buildkite_secret"
  "WandbSecretArn=$wandb_secret"
)
if [ -n "${BUILDKITE_API_URL:-}" ]; then parameters+=("BuildkiteApiUrl=$BUILDKITE_API_URL"); fi
if [ -n "${WANDB_BASE_URL:-}" ]; then parameters+=("WandbBaseUrl=$WANDB_BASE_URL"); fi
if [ -n "${KMS_KEY_ARN:-}" ]; then parameters+=("KmsKeyArn=$KMS_KEY_ARN"); fi

# Prints what CloudFormation could not make or change, the newest first. CloudFormation updates no stack whose first
# deployment was rolled back: such a stack, which holds nothing, is deleted, so that the step can be retried.
after_failure() {
  echo "+++ Deploying stack modelbuild-training failed"
  aws cloudformation describe-stack-events --stack-name modelbuild-training --max-items 100 --output text \
    --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]"
  if [ "$(aws cloudformation describe-stacks --stack-name modelbuild-training --output text \
    --query 'Stacks[0].StackStatus')" = ROLLBACK_COMPLETE ]; then
    aws cloudformation delete-stack --stack-name modelbuild-training
    aws cloudformation wait stack-delete-complete --stack-name modelbuild-training
    echo "The stack that this first deployment left was deleted: correct the reason above, and retry this step."
  fi
}

echo "--- Deploying stack modelbuild-training"
if ! aws cloudformation deploy --stack-name modelbuild-training --template-file infra/training.yaml \
  --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset --parameter-overrides "${parameters[@]}"; then
  after_failure
  exit 1
fi
