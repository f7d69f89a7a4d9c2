"""``python -m modelbuild``: the same as the command ``modelbuild``."""

from modelbuild.process import startup


def main() -> None:
    """Run the command line."""
    startup.skip_garbage_collection()
    from modelbuild.cli import main as run

    run()


if __name__ == "__main__":
    main()
