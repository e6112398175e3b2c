"""Checks on the files of a built site, with no browser: what a reader must never meet."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

LOADED = {"script": "src", "img": "src", "iframe": "src", "embed": "src", "source": "src", "object": "data"}
PASSIVE_LINKS = {"canonical", "next", "prev", "search", "index", "author", "license", "help", "top", "up"}
OUTSIDE = re.compile(r"^(?:[a-z]+:)?//", re.IGNORECASE)
CSS_ADDRESS = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
LEFTOVER = re.compile(r"\{(?:eval|glue|cite|ref|numref|term|eq|doc|prf|exercise)\b[^}]*\}|\[[\w:-]+\?\]")


def check_html(folder: Path) -> list[str]:
    """Look for what a reader must never meet, in every page of a built site.

    Links and anchors resolve; images have alt text; nothing is loaded from outside; no cell ended in an error; no
    glued value, citation or reference was left unresolved; the theme mode is one that exists.

    Returns:
        One line a complaint; none if all is well.
    """
    pages = {
        file: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in sorted(folder.rglob("*.html"))
    }
    anchors = {
        file: {str(tag.get(key)) for tag in page.find_all(True) for key in ("id", "name") if tag.get(key)}
        for file, page in pages.items()
    }
    complaints = [] if (folder / "index.html") in pages else ["index.html: missing"]
    for file, page in pages.items():
        name = file.relative_to(folder).as_posix()
        found = [line for address in _addresses(page) for line in _check_link(address, file, folder, anchors)]
        found += [*_check_loads(page), *_check_content(page)]
        complaints += [f"{name}: {complaint}" for complaint in dict.fromkeys(found)]
    for sheet in sorted(folder.rglob("*.css")):
        outside = CSS_ADDRESS.findall(sheet.read_text(encoding="utf-8", errors="replace"))
        complaints += [f"{sheet.relative_to(folder).as_posix()}: loads {address}" for address in outside]
    return complaints


def _addresses(page: BeautifulSoup) -> list[str]:
    """List every address of a page: what it links to, what it loads, where it sends the reader on."""
    found = [str(tag["href"]) for tag in page.find_all(["a", "link", "area"], href=True)]
    found += [str(tag[key]) for kind, key in LOADED.items() for tag in page.find_all(kind, attrs={key: True})]
    for tag in page.find_all("meta", attrs={"http-equiv": re.compile("^refresh$", re.IGNORECASE)}):
        found.append(str(tag.get("content", "")).partition("url=")[2] or "(nowhere)")
    return found


def _check_link(address: str, file: Path, folder: Path, anchors: dict[Path, set[str]]) -> list[str]:
    """Say whether an address leads to a file of the site, and to an anchor that is there."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return []  # a link to elsewhere is the reader's to follow; what is loaded from there is found by _check_loads
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(folder) or not target.exists():
        return [f"link to {address} leads nowhere"]
    if parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
        return [f"link to {address}: there is no such anchor"]
    return []


def _check_loads(page: BeautifulSoup) -> list[str]:
    """Find what a page would load from outside."""
    loaded = [str(tag[key]) for kind, key in LOADED.items() for tag in page.find_all(kind, attrs={key: True})]
    for tag in page.find_all("link", href=True):
        if not PASSIVE_LINKS.intersection(tag.get("rel") or []):
            loaded.append(str(tag["href"]))
    styles = " ".join(
        [tag.get_text() for tag in page.find_all("style")] + [str(t["style"]) for t in page.find_all(style=True)]
    )
    return [f"loads {address}" for address in [*filter(OUTSIDE.match, loaded), *CSS_ADDRESS.findall(styles)]]


def _check_content(page: BeautifulSoup) -> list[str]:
    """Find pictures without words, crashed cells, and text that should have become something else."""
    found = []
    for image in page.find_all("img"):
        alt = str(image.get("alt") or "").strip()
        if not alt or re.fullmatch(r"\S+\.(?:png|svg|jpe?g|gif|webp)", alt):
            found.append(f"image {image.get('src')} has no alt text")
    if page.select(".cell_output .traceback, .highlight-ipythontb, .output.error"):
        found.append("a cell ended in an error")
    if page.select(".problematic, .system-message"):
        found.append("Sphinx left a problem in the page")
    for tag in page.find_all(["script", "style", "pre", "code"]):
        tag.extract()
    words = page.get_text(" ")
    found += [f"unresolved {leftover}" for leftover in LEFTOVER.findall(words)]
    if "Executing notebook failed" in words or "Traceback (most recent call last)" in words:
        found.append("a cell ended in an error")
    mode = page.body.get("data-default-mode") if page.body else None
    if mode is not None and mode not in ("auto", "light", "dark"):
        found.append(f"invalid theme mode {mode!r}")
    return found
