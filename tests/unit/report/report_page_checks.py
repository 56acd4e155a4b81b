"""What must hold of every page, whatever the run held."""

from __future__ import annotations

import re
from html.parser import HTMLParser

CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "h4", "p",
    "span", "b", "small", "strong", "a", "ul", "li", "section", "div", "code", "pre", "table", "thead",
    "tbody", "tr", "th", "td", "dl", "dt", "dd", "details", "summary", "figure", "figcaption", "footer",
    "caption", "svg", "g", "path", "defs", "use", "text", "clippath", "rect", "tspan",
}  # fmt: skip


# What alone a page links to beyond itself: from a study to the report of a run beside it.
RUN_PAGE = re.compile(r"\.\./\.\./runs/[0-9A-Za-z][0-9A-Za-z._-]*/report/report\.html")


# Attributes that hold words, which nothing follows.
WORDS = {"data-label", "title"}


class Page(HTMLParser):
    """Tags and attributes as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def check(html: str) -> Page:
    """Self-contained, inert, and whole. Returns the parsed page."""
    page = Page(html)
    assert set(page.tags) <= TAGS
    assert ("meta", "content", CSP) in page.attributes
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        assert name not in {"src", "srcset", "action", "formaction", "background", "data", "poster"}
        if name not in WORDS:
            assert "http:" not in value
            assert "https:" not in value
        if name in {"href", "xlink:href"} and not (tag == "a" and RUN_PAGE.fullmatch(value)):
            assert value.startswith("#")
            assert value[1:] in ids
        assert all(hit.startswith("#") for hit in re.findall(r"url\(([^)]*)", value))
    assert page.tags.count("details") == page.tags.count("summary")
    drawings = [tag for tag in page.tags if tag == "svg"]
    named = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label" and value]
    assert len(named) == len(drawings)
    style = "".join(re.findall(r"<style>.*?</style>", html, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert html.rstrip().endswith("</html>")
    return page
