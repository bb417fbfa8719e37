"""`docs/flair.md` lists 26 faults of the official code and the tests that hold them out: each of these exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_fault_has_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "flair.md").read_text(encoding="utf-8").partition("## What went wrong elsewhere")[2]
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", text, flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 27))
    for number, told in rows:
        tests = re.findall(r"`([\w/]+\.py)::(test_\w+)`", told)
        assert tests, number
        for file, name in tests:
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (number, file, name)
