"""A paper's printed figures, computed again from one another, and where its own tables and text disagree."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from landweave.reproduce.checks import CHECKS, Finding, Verdict
from landweave.reproduce.claims import claims
from landweave.reproduce.published import Paper, paper

ORDER: tuple[Verdict, ...] = ("disagrees", "doubtful", "trivial", "agrees")
HEADINGS = {
    "disagrees": "Figures and statements that disagree",
    "doubtful": "Doubtful: unusual, or more than rounding explains",
    "trivial": "No better than a predictor that looks at no image",
    "agrees": "What agrees",
}


@dataclass(frozen=True)
class Audit:
    """All findings on a paper, the disagreements first, and remarks that need a reader and not a computer."""

    paper: Paper
    findings: tuple[Finding, ...]

    def of(self, verdict: Verdict) -> list[Finding]:
        """Findings of one verdict."""
        return [f for f in self.findings if f.verdict == verdict]

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield f"{self.paper.name}: {self.paper.title}"
        yield self.paper.source
        if self.paper.prevalence_source:
            yield f"prevalence: {self.paper.prevalence_source}"
        for verdict in ORDER:
            found = self.of(verdict)
            if found:
                yield ""
                yield f"{HEADINGS[verdict]} ({len(found)})"
                for finding in found:
                    text = f"{finding.where}: {finding.check}: {finding.printed} -> {finding.recomputed}"
                    yield textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ")
        if self.paper.remarks:
            yield ""
            yield "Read, not computed"
            for remark in self.paper.remarks:
                yield textwrap.fill(remark, 118, initial_indent="- ", subsequent_indent="  ")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "paper": self.paper.name,
            "title": self.paper.title,
            "findings": [f.to_json() for f in self.findings],
            "remarks": list(self.paper.remarks),
        }


def audit(name: str) -> Audit:
    """Compute a paper's printed figures again.

    Raises:
        ConfigError: no such paper.
    """
    return audit_of(paper(name))


def audit_of(one: Paper) -> Audit:
    """The same of figures at hand. Every finding follows from them; none is stored."""
    found = [finding for check in CHECKS for finding in check(one)] + list(claims(one))
    return Audit(one, tuple(sorted(found, key=lambda f: ORDER.index(f.verdict))))
