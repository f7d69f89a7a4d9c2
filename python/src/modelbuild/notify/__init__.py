"""How a training ended, on the build page: what the plugin ``notify`` runs."""
