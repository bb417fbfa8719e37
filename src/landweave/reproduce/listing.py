"""What can be reproduced, on which data, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from landweave.reproduce import adapt_plan
from landweave.reproduce.adaptation import Adaptation
from landweave.reproduce.config import Protocol, protocol, protocols
from landweave.reproduce.fingerprint import recipe_mark
from landweave.reproduce.plan import experiments

if TYPE_CHECKING:
    from landweave.run.experiment import Experiment


@dataclass(frozen=True)
class Offer:
    """One table. `passes`: images that go through an encoder, there and back, at each scale that has genuine data.

    A training counts once, whatever number of rows or tables use it; scores on validation and test places, a fraction
    of that, are left out.
    """

    name: str
    title: str
    datasets: tuple[str, ...]
    synth: tuple[str, ...]
    methods: int
    runs: dict[str, int]
    passes: float

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield f"{self.name}: {self.title}"
        runs = ", ".join(f"{scale} {count}" for scale, count in self.runs.items())
        yield f"  data: {', '.join(self.datasets)}; {self.methods} methods; trainings: {runs}"
        yield f"  full scale: {self.passes:.1e} image passes, {self.passes / 3.6e6:.0f} h at 1,000 images a second"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def offers() -> list[Offer]:
    """All shipped tables."""
    found = (protocol(name) for name in protocols())
    return [_adapting(one) if isinstance(one, Adaptation) else offer(one) for one in found]


def offer(one: Protocol) -> Offer:
    """One table of methods."""
    sources = {**one.datasets, **one.pretraining}
    paths = dict.fromkeys(sources, "DIR")
    counts, passes = {}, {}
    for scale in one.scales:
        found = dict(_trainings(one, paths, scale))
        counts[scale] = sum(count for count, _ in found.values())
        passes[scale] = sum(count * images for count, images in found.values())
    return Offer(
        one.name,
        one.title or (one.published.title if one.published else ""),
        tuple(sources),
        tuple(s.synth for s in sources.values()),
        len(one.rows),
        counts,
        passes.get("full", 0.0),
    )


def _adapting(one: Adaptation) -> Offer:
    """A teacher a seed, and a student for each set that is not the same bands in another preset."""
    paths = dict.fromkeys(one.datasets, "DIR")
    counts, passes = {}, {}
    for scale in one.scales:
        runs = one.shares(one.scale(scale))[1.0]
        found: dict[str, float] = {}
        for _, _, name, _, row, teacher, student in adapt_plan.experiments(one, paths, scale, first=True):
            places = one.datasets[name].places.get("train", 0)
            found[recipe_mark(teacher)] = float(places * teacher.train.epochs)
            if row.count:
                found[recipe_mark(student)] = 2.0 * places * student.train.epochs  # the teacher looks on
        counts[scale], passes[scale] = runs * len(found), runs * sum(found.values())
    return Offer(
        one.name,
        one.title or (one.published.title if one.published else ""),
        tuple(one.datasets),
        tuple(s.synth for s in one.datasets.values()),
        len(one.of_rows) * len(one.presets),
        counts,
        passes.get("full", 0.0),
    )


def _trainings(one: Protocol, paths: dict[str, str], scale: str) -> Iterator[tuple[str, tuple[int, float]]]:
    """Different trainings of the first run, with how many runs there are of each, and its image passes."""
    shares = one.shares(one.scale(scale))
    for _, share, name, row, pair in experiments(one, paths, scale, first=True):
        main, before = pair["main"], pair.get("before")
        stage = (before or main).first
        if stage is not None:
            where, every = row.pretrain_on or name, stage.method.unlabelled == "rest"
            count = max(shares.values()) if every else shares[share]  # one stage of a seed serves all shares
            plain = stage.model_copy(update={"data": stage.data.model_copy(update={"fraction": 1.0})})
            yield f"stage {where} {recipe_mark(plain if every else stage)}", (count, _passes(stage, one, where))
        alone = main.model_copy(update={"pretrain": None})
        begin = recipe_mark(stage) if stage is not None else ""
        yield f"{name} {recipe_mark(alone)} {begin}", (shares[share], _passes(alone, one, name))


def _passes(experiment: Experiment, one: Protocol, dataset: str) -> float:
    """Images through an encoder in a training: places x epochs x sensors x views."""
    source = {**one.datasets, **one.pretraining}[dataset]
    every = source.places.get("train", 0)
    places = every if experiment.method.unlabelled == "rest" else every * experiment.data.fraction
    terms = getattr(experiment.method, "terms", {})
    views = {view for term in terms.values() if term.weight for view in getattr(term, "views", ())}
    sensors = 1 if experiment.method.fusion.kind == "early" else max(1, len(experiment.data.streams))
    return float(places * experiment.train.epochs * sensors * max(1, len(views)))
