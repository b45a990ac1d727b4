"""A page as a parser reads it, and what every page must keep."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input"}


class ParsedPage(HTMLParser):
    """Checks that tags are closed in order; gathers tags, attributes and text, by element too."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open:
            self.inside.setdefault(self.open[-1], []).append(data)

    @property
    def policy(self) -> str:
        """The content-security policy."""
        return next(value for _, value in self.attributes if value and value.startswith("default-src"))


def require_self_contained(html: str, page: ParsedPage) -> None:
    """Nothing is loaded, nothing inline runs, and the policy allows the page's own style and script alone."""
    code = re.sub(r"[\w+/=]{200,}|sha256-[\w+/=]+", "", html)
    assert not re.search(r"https?://|//[a-z]|url\(|@import|javascript:|innerHTML|\beval\(", code, re.I)
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in ("src", "href")]
    assert all(address and address.startswith(("data:image/", "#")) for address in addresses)
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert page.policy.startswith("default-src 'none'") and "unsafe" not in page.policy
    allowed = {"style-src": page.inside["style"][0]}
    if "script" in page.tags:
        allowed["script-src"] = page.inside["script"][-1]
    for directive, text in allowed.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in page.policy
