"""A model copied to production and served: what the plugin ``deploy`` runs."""
