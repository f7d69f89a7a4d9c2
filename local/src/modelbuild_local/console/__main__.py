"""``python -m modelbuild_local.console``: serve until standard input is closed.

The first line of standard input is a JSON object: ``key_id`` and ``secret``, the access key for the AWS
stand-in, and ``page_key``, which opens the pages.
"""

from __future__ import annotations

from modelbuild_local.console.app import create_app
from modelbuild_local.console.reader import Reader
from modelbuild_local.service import process


def main() -> None:
    """Read the command line and the secrets, bind the port, and serve."""
    parser = process.parser("modelbuild_local.console", description=__doc__)
    parser.add_argument("--aws", required=True, metavar="URL", help="address of the AWS stand-in")
    options = parser.parse_args()
    secrets = process.read_secrets("key_id", "secret", "page_key")
    listener, url = process.listen("AWS console", options.port)
    reader = Reader(options.aws, secrets["key_id"], secrets["secret"])
    process.serve(create_app(reader, url, secrets["page_key"]), listener, url)


if __name__ == "__main__":
    main()
