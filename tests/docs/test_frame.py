"""The project's frame says what is there: files, verbs, links, versions, pins."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import regard

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_architecture_page_names_every_file_and_no_other():
    tree = re.search(r"^src/regard/\n(.*?)^```", read("ARCHITECTURE.md"), re.MULTILINE | re.DOTALL)
    assert tree is not None
    named, folder = set(), ""
    for line in tree[1].splitlines():
        depth, entry = len(line) - len(line.lstrip()), line.split()[0]
        if entry.endswith("/"):
            folder = entry
        else:
            named.add(entry if depth == 2 else folder + entry)
    package = ROOT / "src" / "regard"
    there = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert named == {name for name in there if "__pycache__" not in name}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}"
        assert found.exists() or found.parent.name == "results", f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings: small letters, hyphens for spaces, no other marks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_make_alone_lists_every_verb():
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for verb in ("setup", "demo", "test", "lint", "bench", "docs"):
        assert re.search(rf"^ +make {verb} +\w", listed, re.MULTILINE), verb


def test_all_pages_speak_of_this_version():
    assert f"\nversion: {regard.__version__}\n" in read("CITATION.cff")
    assert regard.__version__ in read("CHANGELOG.md")


def test_everything_that_set_up_installs_is_pinned():
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert list(pins) == sorted(pins)
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    named = ("train", "look", "jax", "export", "dev")
    wanted = [*project["dependencies"], *(text for name in named for text in extras[name])]
    of_cuda = {name for name in needed(wanted) if name.startswith(("cuda-", "nvidia-", "triton"))}
    assert needed(wanted) - of_cuda - set(pins) == set()


def needed(requirements: list[str]) -> set[str]:
    """The names of all that these requirements install here, found through what is installed."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            behind = [Requirement(text) for text in requirements_of(requirement.name)]
            waiting += [r for r in behind if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def requirements_of(package: str) -> list[str]:
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []
