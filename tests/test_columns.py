"""Tables in columns: headings broken between words, tables that go on below themselves."""

from __future__ import annotations

import pytest

from landweave.columns import aligned, piped, screen

HEADER = ("method", "runs", "macro F1", "macro F1 (paper)", "oa")
ROWS = (("late fusion", "10", "0.301 ± 0.045", "0.5", "0.9"), ("a", "2", "-", "0.25?", ""))


def test_headings_are_no_wider_than_what_stands_below_them_or_a_word() -> None:
    assert list(aligned(HEADER, ROWS)) == [
        "                                  macro F1",
        "method       runs       macro F1   (paper)   oa",
        "late fusion    10  0.301 ± 0.045       0.5  0.9",
        "a               2              -     0.25?",
    ]


def test_a_table_wider_than_the_line_goes_on_with_its_keys() -> None:
    told = list(aligned(HEADER, ROWS, keys=2, width=34))
    assert told[:3] == [
        "method       runs       macro F1",
        "late fusion    10  0.301 ± 0.045",
        "a               2              -",
    ]
    assert told[3:] == [
        "",
        "                   macro F1",
        "method       runs   (paper)   oa",
        "late fusion    10       0.5  0.9",
        "a               2     0.25?",
    ]


@pytest.mark.parametrize("width", range(1, 60))
def test_every_column_stands_once_and_lines_are_no_longer_than_they_must_be(width: int) -> None:
    told = list(aligned(HEADER, ROWS, keys=2, width=width))
    text = " ".join(told)
    assert [text.count(v) for v in ("0.301", "0.5", "0.9", "0.25?")] == [1, 1, 1, 1]
    assert text.count("macro") == 2
    assert text.count("method") == told.count("") + 1
    assert max(map(len, told)) <= max(width, len("late fusion    10  0.301 ± 0.045"))


def test_a_long_name_goes_on_below() -> None:
    names = ("Land principally occupied by agriculture", "Pastures")
    told = list(aligned(("class", "trivial", "ours"), [(n, "0.1", "0.2") for n in names], keys=2, width=36))
    assert told == [
        "class         trivial  ours",
        "Land              0.1   0.2",
        "  principall",
        "  y occupied",
        "  by agricul",
        "  ture",
        "Pastures          0.1   0.2",
    ]


def test_tables_of_no_rows_or_keys_alone() -> None:
    assert list(aligned(("a b", ""), ())) == ["a b"]
    assert list(aligned(("a",), (("1",),), width=1)) == ["a", "1"]


def test_markdown_keeps_bars_in_cells() -> None:
    assert list(piped(("a|b",), (("c",),))) == ["| a\\|b |", "|---|", "| c |"]


def test_what_is_no_terminal_has_no_width() -> None:
    assert screen() == 0
