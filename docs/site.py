"""Hooks of the documentation site (mkdocs.yml): files outside docs/ that pages link to become pages as well.

A link to `../passes/dce.py` leads to a page with that file, so the site is whole without the repository and
without a network. After the build, nothing in it may be fetched from elsewhere.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs/"
OUTSIDE = "repository/"  # where pages of files outside docs/ lie in the site
LANGUAGES = {".py": "python", ".toml": "toml"}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?(https?:)?//|<link[^>]+rel=["']?(?:stylesheet|preconnect|icon)"""
    r"""[^>]+href=["']?(https?:)?//|@import\s+(?:url\()?["']?(https?:)?//|url\(["']?(https?:)?//"""
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside docs/ that a page links to, and for those that these link to."""
    waiting = [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.endswith(".md"):
            continue
        for target in targets(path):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
                if not target.startswith(DOCS):
                    files.append(File.generated(config, uri(target), content=source(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let relative links lead to pages of the site."""
    return relinked(markdown, path_of(page.file.src_uri))


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would fetch anything from elsewhere."""
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css") and (found := FETCHED.search(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path} fetches from elsewhere: {found[0]}")


def targets(path: str) -> Iterator[str]:
    """Yield the files of the repository that a page links to."""
    for link in LINK.findall(FENCE.sub("", (ROOT / path).read_text(encoding="utf-8"))):
        target = resolved(link, path)
        if target is not None:
            yield target


def resolved(link: str, path: str) -> str | None:
    """Return the file or folder that a link in `path` names; a README stands for its folder."""
    place = link.partition("#")[0]
    if not place or "://" in place:
        return None
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
    if (ROOT / target / "README.md").is_file():
        return f"{target}/README.md"
    return target if (ROOT / target).exists() else None


def relinked(markdown: str, path: str) -> str:
    """Return the text of the page `path` with its links rewritten; code stays as it is."""
    return outside_fences(markdown, lambda prose: LINK.sub(lambda match: relink(match[1], path), prose))


def relink(link: str, path: str) -> str:
    target = resolved(link, path)
    if target is None:
        return link
    _, mark, anchor = link.partition("#")
    return posixpath.relpath(uri(target), posixpath.dirname(uri(path)) or ".") + mark + anchor


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def uri(path: str) -> str:
    """Return where a file of the repository lies in the site's sources."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return OUTSIDE + path + ("" if path.endswith(".md") else ".md")


def path_of(src_uri: str) -> str:
    """Return the file of the repository that a source of the site came from."""
    if not src_uri.startswith(OUTSIDE):
        return DOCS + src_uri
    path = src_uri.removeprefix(OUTSIDE)
    return path if (ROOT / path).exists() else path.removesuffix(".md")


def source(path: str) -> str:
    """Return a file as Markdown, a folder as a list of what it holds."""
    if (ROOT / path).is_dir():
        names = sorted(entry.name for entry in (ROOT / path).iterdir() if not entry.name.startswith("__"))
        return "\n".join([f"# {path}", "", *(f"- {name}" for name in names), ""])
    content = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return content
    return f"# {path}\n\n```{LANGUAGES.get(Path(path).suffix, 'text')}\n{content}```\n"
