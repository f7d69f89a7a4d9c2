"""CloudFormation stacks, and the resource types that moto does not make."""
