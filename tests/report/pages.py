"""A page of HTML as the tests look at it."""

import re
from html import unescape
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Well-formedness, ids, words, what it would load and where it leads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.leads_to: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset") and not value.startswith("#"):
                (self.leads_to if tag == "a" else self.loads).append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += f" {data.strip()}"


def said_of(html: str, title: str) -> str:
    """What a screen reader says of the chart."""
    (label,) = re.findall(rf'aria-label="({re.escape(title)}: [^"]*)"', html)
    return unescape(label)
