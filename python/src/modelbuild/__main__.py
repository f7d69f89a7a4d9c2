"""``python -m modelbuild``: the same as the command ``modelbuild``."""

from modelbuild.cli import main

if __name__ == "__main__":
    main()
