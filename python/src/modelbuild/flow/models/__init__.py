"""Models that flows fit: each module makes the files of one kind of model's archive."""
