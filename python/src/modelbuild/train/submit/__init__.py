"""What the agent does with it: one request, one head job, and what the page says of them."""
