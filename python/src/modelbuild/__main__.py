"""``python -m modelbuild``: the same as the command ``modelbuild``."""

import atexit
import gc

# What is loaded at the start stays: to look for garbage in it again and again takes a tenth of a hook's time,
# and once more at the end, when all of it is given back anyway, a sixth.
gc.set_threshold(200_000)
atexit.register(gc.freeze)

from modelbuild.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
