"""Links of all pages lead somewhere, pictures are small, and what a page includes exists."""

import re
from pathlib import Path

import pytest
from tests.docs.documents import ROOT, documents

PAGES = sorted({*documents(), *(ROOT / "experiments").glob("*/README.md"), ROOT / "docs" / "mutation.md"})
LINK = re.compile(r"\]\(([^()\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def broken(page: Path, root: Path = ROOT) -> list[str]:
    """Links of a page that lead nowhere in the repository; those to other hosts aren't looked at."""
    faults = []
    for link in LINK.findall(
        re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    ):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(root)
        if not inside or not target.exists() or (anchor and anchor not in anchors(target)):
            faults.append(link)
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert not broken(page)


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    copy = tmp_path / "page.md"
    copy.write_text("[a](nowhere.md) [b](#no-heading) [c](https://example.org) [d](#here)\n# Here\n")
    assert broken(copy, root=tmp_path) == ["nowhere.md", "#no-heading"]


def test_pictures_of_the_front_page_are_small():
    pictures = re.findall(r"!\[[^\]]*\]\(([^()]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(pictures) == 3
    assert sum((ROOT / p).stat().st_size for p in pictures) < 400_000


def test_every_page_is_in_the_navigation():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert not {p for p in pages if f": {p}" not in site}
