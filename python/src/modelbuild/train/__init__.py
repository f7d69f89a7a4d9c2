"""What the train plugin runs on the agent, and what runs inside Batch."""
