"""``python -m modelbuild_local.agent``: find or build the agent; without any installed package."""

from __future__ import annotations

import sys

from modelbuild import cache
from modelbuild.errors import ModelbuildError
from modelbuild_local.agent.binary import find

if __name__ == "__main__":
    try:
        with cache.errors_explained():
            print(find())
    except ModelbuildError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
