"""The page of what people asked for names tests and pages that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS = [
    line.split(" | ")
    for line in (ROOT / "docs/ASKS.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d", line)
]


def test_every_ask_names_a_test_that_is_there():
    assert [row[0] for row in ROWS] == [f"| {number}" for number in range(1, 31)]
    for row in ROWS:
        named = re.findall(r"`(tests/[^`]+)`", row[4])
        assert named
        for path in named:
            assert (ROOT / path).exists(), path


def test_every_page_has_the_section_that_is_linked():
    for row in ROWS:
        for page, _, anchor in re.findall(r"\]\(([^)#]+)(#([^)]+))?\)", row[3]):
            text = (ROOT / "docs" / page).read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            # GitHub's rule.
            anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert not anchor or anchor in anchors, f"{page}#{anchor}"
