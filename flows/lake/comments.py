"""The rated texts of Hutto and Gilbert (2014), from the pinned source archive of vaderSentiment."""

from __future__ import annotations

import html
import importlib.util
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from modelbuild.flow.models.packages import Package
from tables import Table

PACKAGE = Package(
    "vaderSentiment",
    "3.3.2",
    # The wheel does not hold the rated texts.
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
COLUMNS = {
    "id": "string",
    "text": "string",
    "rating": "double",
    "raters": "int",
    "domain": "string",
    "document": "string",
    "vader_compound": "double",
}

_FILES = {
    "tweets": "tweets",
    "amazon": "amazonReviewSnippets",
    "movie": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
}


def rated_texts(content: bytes) -> Iterator[dict[str, str | float | int]]:
    """Each text with its mean rating (-4 to 4), number of raters, domain, document and VADER's own score.

    A document must not be split between training and test: it is the Amazon review or the New York Times
    editorial of a sentence, or a single tweet or movie snippet.
    """
    with tarfile.open(fileobj=io.BytesIO(content)) as outer:
        inner = _member(outer, f"{PACKAGE}/additional_resources/hutto_ICWSM_2014.tar.gz")
        compound = _vader(outer)
    with tarfile.open(fileobj=io.BytesIO(inner)) as ratings:
        for domain, name in _FILES.items():
            raters = {
                row[0]: len(json.loads(row[3]))
                for row in _table(ratings, f"hutto_ICWSM_2014/{name}_anonDataRatings.txt", columns=4)
            }
            for number, rating, text in _table(
                ratings, f"hutto_ICWSM_2014/{name}_GroundTruth.txt", columns=3
            ):
                clean = html.unescape(text).strip()
                yield {
                    "id": f"{domain}/{number}",
                    "text": clean,
                    "rating": float(rating),
                    "raters": raters[number],
                    "domain": domain,
                    "document": f"{domain}/{number.split('_')[0]}",
                    "vader_compound": compound(clean),
                }


def _table(files: tarfile.TarFile, name: str, columns: int) -> Iterator[list[str]]:
    for line in _member(files, name).decode("utf-8-sig").split("\n"):
        if line.strip():
            yield line.rstrip("\r").split("\t", columns - 1)


def _member(files: tarfile.TarFile, name: str) -> bytes:
    stream = files.extractfile(name)
    assert stream is not None, name
    return stream.read()


def _vader(files: tarfile.TarFile) -> Callable[[str], float]:
    """VADER's compound score from -1 to 1, computed by the archive's own code and lexicon."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("vaderSentiment.py", "vader_lexicon.txt", "emoji_utf8_lexicon.txt"):
            (Path(folder) / name).write_bytes(_member(files, f"{PACKAGE}/vaderSentiment/{name}"))
        spec = importlib.util.spec_from_file_location("vader", Path(folder) / "vaderSentiment.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        analyzer = module.SentimentIntensityAnalyzer()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])


TABLE = Table("comments", str(PACKAGE), COLUMNS, lambda: rated_texts(PACKAGE.content()))
