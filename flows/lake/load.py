"""Put tables into the lake: ``python flows/lake/load.py comments bbc``.

It needs what the plugins' helpers need, and nothing else. Running it again changes nothing.
"""

from __future__ import annotations

import argparse
import sys

import comments
import topics
from modelbuild.errors import ModelbuildError
from tables import put

TABLES = {table.name: table for table in (comments.TABLE, topics.BBC, topics.NEWSGROUPS)}


def main() -> None:
    """Load the tables that the command line names."""
    parser = argparse.ArgumentParser(description="Put tables into the lake.")
    parser.add_argument("table", nargs="+", choices=sorted(TABLES))
    for name in parser.parse_args().table:
        put(TABLES[name])


if __name__ == "__main__":
    try:
        main()
    except ModelbuildError as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.exit_code)
