"""``modelbuild local up``: the services, the accounts and the agents' host."""
