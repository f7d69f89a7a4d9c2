"""EventBridge: rules on events of Batch, and rules on a schedule."""
