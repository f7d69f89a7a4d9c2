"""``python -m modelbuild``: the same as the command ``modelbuild``."""

import modelbuild.brief  # noqa: F401
from modelbuild.cli import main

if __name__ == "__main__":
    main()
