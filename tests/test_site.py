"""The documentation site builds without a warning, links within itself and fetches nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r'<a\b[^>]*\bhref="([^"]*)"')
FETCHED = re.compile(r'<(?:script|img|link|iframe|source|video|use)\b[^>]*\b(?:src|href)="([^"]*)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    return folder


def pages(site: Path) -> list[Path]:
    return [path for path in site.rglob("*.html") if path.name != "404.html"]


def test_every_page_of_the_docs_is_there(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in ROOT.glob("docs/**/*.md")}
    assert sources <= {path.relative_to(site) for path in pages(site)}


def test_links_stay_within_the_site(site: Path) -> None:
    missing = [
        f"{page.relative_to(site)}: {link}"
        for page in pages(site)
        for link in LINK.findall(page.read_text())
        if "://" not in link
        and not (page.parent / (unquote(link).partition("#")[0] or page.name)).resolve().exists()
    ]
    assert missing == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = {
        address
        for page in pages(site)
        for address in FETCHED.findall(page.read_text())
        if "//" in address and not address.startswith("data:")
    }
    assert fetched == set()
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", styles) == []
    assert "@import" not in styles


def test_files_outside_docs_become_pages(site: Path) -> None:
    """A page that quotes a source file leads to it; the file's own page shows it."""
    assert (
        'href="repository/examples/custom_pass/round_thresholds.py.html"'
        in (site / "writing-a-pass.html").read_text()
    )
    shown = (site / "repository/examples/custom_pass/round_thresholds.py.html").read_text()
    assert "RoundThresholds" in shown


def test_every_page_has_one_title(site: Path) -> None:
    """A line that begins with #103 is a title for one Markdown and text for another."""
    wrong = [str(page.relative_to(site)) for page in pages(site) if page.read_text().count("<h1") != 1]
    assert wrong == []
