"""Two processes learn as one does: each term of their halves of a batch is the term of the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from landweave.legends import LandClass, Legend
from landweave.methods.embedded import Embedded, View
from landweave.methods.match import Clip as MatchedClip
from landweave.methods.match import Cosine, Match, Mse, matched
from landweave.methods.terms import Clip, Dense, Inter, Intra, MulSupCon, Soft, Supervised, Term, weighted_sum
from landweave.nn.model import Part, Targets
from landweave.sample import Label

SENSORS = ("s1", "s2")
SPLITS = ((3, 5), (7, 1), (0, 8))
"""Places of the first process and of the second: a short half, one place, none."""
TERMS: dict[str, Term] = {
    "intra": Intra(),
    "both": Inter(weight=0.5),
    "cross": Inter(form="cross", views=("a", "b")),
    "clip": Clip(),
    "fused": MulSupCon(),
    "each": MulSupCon(of="each", reduction="anchors"),
    "labels": Soft(),
    "features": Soft(by="features"),
    "dense": Dense(temperature=0.2),
    "supervised": Supervised(),
}
MATCHES: dict[str, Match] = {
    "matched_mse": Mse(),
    "matched_maps": Mse(on="maps", weight=0.5),
    "matched_cosine": Cosine(on="maps"),
    "matched_clip": MatchedClip(on="projection"),
}
LEGEND = Legend("five", tuple(LandClass(i, f"c{i}", "#000000") for i in range(5)))
Weights = dict[str, Tensor]


def places() -> dict[str, Tensor]:
    """Inputs of 8 places; a sensor is absent at one, two labels are unknown."""
    made = torch.Generator().manual_seed(0)
    found = {f"{v}.{s}": torch.randn(8, 6, generator=made) for v in "ab" for s in SENSORS}
    found["labels"] = (torch.rand(8, 5, generator=made) < 0.4).byte()
    found["known"] = torch.ones(8, 5, dtype=torch.bool)
    found["known"][[1, 6]] = False
    found["seen"] = torch.ones(8, dtype=torch.bool)
    found["seen"][4] = False
    return found


def weights() -> Weights:
    """Linear maps in the place of encoder and heads, and a learned scale."""
    made = torch.Generator().manual_seed(1)
    shapes = {"z": (6, 4), "logits": (6, 5), "maps": (6, 3 * 2 * 2)}
    found = {k: torch.randn(s, generator=made) for k, s in shapes.items()} | {"scale": torch.tensor(14.0)}
    return {k: w.requires_grad_() for k, w in found.items()}


def terms_of(rows: slice, w: Weights) -> dict[str, Tensor]:
    data = {k: v[rows] for k, v in places().items()}
    seen = {"s1": data["seen"], "s2": torch.ones_like(data["seen"])}

    def view(name: str) -> View:
        x = {s: data[f"{name}.{s}"] for s in SENSORS}
        maps = {s: (x[s] @ w["maps"]).unflatten(1, (3, 2, 2)) for s in SENSORS}
        return View(x["s2"] @ w["logits"], seen, {"main": {s: x[s] @ w["z"] for s in SENSORS}}, x, maps)

    label = Label("multilabel", data["labels"], data["known"], LEGEND)
    found = Embedded({"a": view("a"), "b": view("b")}, label, torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0]))
    terms = weighted_sum(TERMS, found, scales={"clip": w["scale"]})
    matches = matched(MATCHES, [targets(view(name), seen) for name in "ab"], teacher_of(data, seen))
    return {**terms, **matches, "loss": terms["loss"] + matches["loss"]}


def targets(view: View, seen: dict[str, Tensor]) -> Targets:
    """What a student is matched on, of a view."""
    embeddings = {s: Part(z, seen[s]) for s, z in view.embeddings["main"].items()}
    return Targets(
        Part(view.logits, seen["s1"]), {"main": embeddings}, {s: Part(m, seen[s]) for s, m in view.maps.items()}
    )


def teacher_of(data: dict[str, Tensor], seen: dict[str, Tensor]) -> Targets:
    """Numbers without a gradient, of the same shapes."""
    x = {s: data[f"a.{s}"] for s in SENSORS}
    rolled = {s: x[s].roll(1, 1) for s in SENSORS}
    maps = {s: torch.cat([x[s], rolled[s]], 1).unflatten(1, (3, 2, 2)) for s in SENSORS}
    return targets(View(rolled["s2"][:, :5], seen, {"main": {s: rolled[s][:, :4] for s in SENSORS}}, x, maps), seen)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    out = []
    for first, second in SPLITS:
        w = weights()
        terms = terms_of(slice(0, first) if rank == 0 else slice(first, first + second), w)
        terms["loss"].backward()
        for p in w.values():
            assert p.grad is not None
            dist.all_reduce(p.grad)  # as DistributedDataParallel: the mean over processes
        grads = {k: p.grad / 2 for k, p in w.items() if p.grad is not None}
        out.append(({k: v.detach() for k, v in terms.items()}, grads))
    torch.save(out, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[dict[str, Tensor], dict[str, Tensor]]]]:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("split", range(len(SPLITS)), ids=[f"{a}+{b}" for a, b in SPLITS])
def test_two_processes_equal_one(found: list[list[tuple[dict[str, Tensor], dict[str, Tensor]]]], split: int) -> None:
    w = weights()
    whole = terms_of(slice(None), w)
    whole["loss"].backward()
    assert {k.partition(".")[0] for k in whole} == {*TERMS, *MATCHES, "loss"}
    for rank in (0, 1):
        terms, grads = found[rank][split]
        for name, value in whole.items():
            assert float(value.detach()) != 0
            torch.testing.assert_close(terms[name], value.detach(), rtol=1e-5, atol=1e-6, msg=lambda m, n=name: n + m)
        for name, p in w.items():
            torch.testing.assert_close(grads[name], p.grad, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: n + m)
