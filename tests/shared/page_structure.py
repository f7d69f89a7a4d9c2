"""What a page is made of: its tags, where they lead, and its text."""

from __future__ import annotations

from html.parser import HTMLParser


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, its links and pictures, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.classes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    @property
    def text(self) -> str:
        """All text."""
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and where it leads."""
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.sources += [value or "" for name, value in attrs if name == "src"]
        self.classes |= {one for name, value in attrs if name == "class" for one in (value or "").split()}
        # What is read in the place of a picture.
        self.texts += [value or "" for name, value in attrs if name == "alt"]

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a tag."""
        self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.texts.append(data)
