"""What is said of a suspect band: dead, striped, too bright, another band's values; and of an image that is unlike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from landweave.contract import StreamContract
from landweave.data.check_values import offset_suspicion
from landweave.errors import listed
from landweave.maps.finding_scene import At, Sample, Scene
from landweave.metrics.suspicion import KINDS, Values, of_image
from landweave.metrics.verdict import Clean, Verdict
from landweave.nn.reconstruct import BandScale
from landweave.sensors import sensor

What = Literal["dead", "saturated", "stripes", "swapped", "gain", "texture"]
DEAD = 0.9
"""Share of a band's pixels that are one number, from which it is called dead or constant."""
CUT = 0.02
"""Share of a band's pixels that are its greatest number, from which it is called saturated."""
PLAIN: tuple[What, ...] = ("dead", "saturated", "stripes", "swapped")
"""What no product level or scale looks like."""
VAPOUR = "nir09"
MANY = 20
"""Times what it should be, from which the number means nothing."""
LEVEL, ROUGH, LINES, FLAT = range(len(KINDS))


@dataclass(frozen=True)
class Suspect:
    """A band that does not go with the others, and why."""

    band: str
    what: What
    text: str
    other: str = ""
    """The band it is swapped with."""


def suspects(scene: Scene, clean: Clean, verdict: Verdict, seen: Sample, chosen: list[At]) -> list[Suspect]:
    """A suspicion for each band of the verdict.

    Args:
        scene: the rasters.
        clean: the standard.
        verdict: what `judge` gave.
        seen: pixels of the windows that it was judged by.
        chosen: those windows.
    """
    bands = scene.stream.bands
    told = of_image(scene.figures(chosen, verdict.suspects)) if verdict.suspects else np.empty((0, 0))
    found: dict[int, Suspect] = {c: s for c in verdict.suspects if (s := _constant(scene.stream, seen, c))}
    left = [c for c in verdict.suspects if c not in found]
    scale = scene.model.net(scene.stream.sensor).scale
    for a, b in combinations(left, 2):
        if a not in found and b not in found and _swapped(scene, clean, verdict, chosen, (a, b)):
            for one, other in ((a, b), (b, a)):
                text = f"holds {bands[other]}: exchanged, both go with the others"
                found[one] = Suspect(bands[one], "swapped", text, bands[other])
    for c in left:
        if c not in found:
            found[c] = _by_figures(bands[c], verdict.final[c], told[c], scene.stream.unit, seen, c, scale)
    return [found[c] for c in verdict.suspects]


def _constant(stream: StreamContract, seen: Sample, band: int) -> Suspect | None:
    number, share = seen.commonest(band)
    if share < DEAD:
        return None
    text = f"dead or constant: {share:.0%} of its pixels are {number:.4g} {stream.unit}"
    return Suspect(stream.bands[band], "dead", text)


def _swapped(scene: Scene, clean: Clean, verdict: Verdict, chosen: list[At], pair: tuple[int, int]) -> bool:
    """Whether both bands go with the others once they are exchanged."""
    hidden = verdict.suspects
    told = clean.scores(of_image(scene.figures(chosen, hidden, pair)), scene.looser(hidden))[list(pair)]
    before = verdict.final[list(pair)]
    return bool(told.max() < min(1.0, before.max(1).min()))


def _by_figures(band: str, scores: Values, told: Values, unit: str, seen: Sample, at: int, scale: BandScale) -> Suspect:
    """By the figure that accuses most."""
    worst = int(scores.argmax())
    middle = float(np.median(seen.physical[at][seen.seen[at]]))
    if worst == FLAT:
        values = seen.physical[at][seen.seen[at]]
        share = float((values == values.max()).mean())
        if share >= CUT:
            return Suspect(band, "saturated", f"saturated: {share:.0%} of its pixels are {values.max():.4g} {unit}")
        return Suspect(band, "dead", "dead in part: in many blocks most pixels are one number")
    if worst == LINES:
        much, how = scale.departure(math.exp(told[LINES]), middle, at)
        by = f"{much:.3g} {unit}" if how == "more" else f"{much - 1:.0%}" if much < MANY else "far"
        return Suspect(band, "stripes", f"stripes: rows or columns that differ by {by} from their neighbours")
    if worst == LEVEL:
        much, how = scale.departure(float(told[LEVEL]), middle, at)
        by = f"{much:+.3g} {unit} beside" if how == "more" else f"{much:.2f} times" if much < MANY else "far above"
        return Suspect(band, "gain", f"gain or offset: {by} what the other bands say")
    return Suspect(band, "texture", "noise, or shifted: it differs from pixel to pixel from what the other bands say")


def another_level(scene: Scene, found: Sequence[Suspect], seen: Sample) -> str:
    """Whether what is said of bands is rather that of another product level or scale: why, or nothing.

    Level-2A has corrected the water vapour band for what Level-1C still lacks there: it is the band that is off most
    where one is given for the other. A genuine gain of that band alone cannot be told from it, and the text says so.
    """
    gains = {s.band: s for s in found if s.what not in PLAIN}
    if not gains:
        return ""
    offset = offset_suspicion(scene.stream.sensor, seen.darkest(scene.stream), scene.layout.reference.where)
    if offset:
        return f"{_one_or_more(list(gains))} off, but there is a {offset.what}\n  fix: {offset.fix}"
    row = sensor(scene.stream.sensor)
    vapour = [b for b in gains if row.band(b).common == VAPOUR]
    if not vapour or row.unit != "reflectance":
        return ""
    own = gains[vapour[0]]
    why = "the water vapour band with them" if len(gains) > 1 else "the water vapour band"
    return (
        f"{_one_or_more(list(gains))} off, {why}, as where Level-1C is given for Level-2A or the reverse; if this is "
        f"{row.name}, then {own.band} is faulty ({own.text})"
    )


def _one_or_more(bands: list[str]) -> str:
    return f"{listed(bands, 13)} {'is' if len(bands) == 1 else 'are'}"


def unlike(scene: Scene, verdict: Verdict, seen: Sample) -> str:
    """Why an image is called unlike the training scenes, in a sentence, and what that may mean."""
    off = int((verdict.scores.max(1) > 1).sum())
    C = len(scene.stream.bands)
    how = f"{off} of {C} bands do not go with the others as they did there" if off else ""
    far = f"its mean spectrum is {verdict.distance:.1f} times as far from theirs as theirs are at most"
    why = " and ".join(part for part in (how, far if verdict.distance > 1 else "") if part)
    source = scene.layout.reference.where
    offset = offset_suspicion(scene.stream.sensor, seen.darkest(scene.stream), source)
    if offset:
        return f"{why}; {offset.what}\n  fix: {offset.fix}"
    return f"{why}; snow, cloud, another land, another product level, or another scale would look like this"


def row(
    scene: Scene, clean: Clean, verdict: Verdict, blocks: Values, found: dict[str, Suspect], at: int
) -> dict[str, Any]:
    """What the table says of a band."""
    band, scores = scene.stream.bands[at], blocks[at][np.isfinite(blocks[at])]
    own = found.get(band)
    return {
        "sensor": scene.stream.sensor,
        "band": band,
        "verdict": own.what if own else "none",
        "score": round(float(verdict.final[at].max()), 3),
        **{kind: round(float(verdict.final[at][k]), 3) for k, kind in enumerate(KINDS)},
        "score_from_all": round(float(verdict.scores[at].max()), 3),
        "blocks": int(scores.size),
        "blocks_above_1": int((scores > 1).sum()),
        "why": own.text if own else "",
    }
