"""``python -m modelbuild``: the same as the command ``modelbuild``."""

import gc

# What is loaded at the start stays: to look for garbage in it again and again takes a tenth of a hook's time.
gc.set_threshold(200_000)

from modelbuild.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
