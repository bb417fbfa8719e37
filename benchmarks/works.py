"""What is compared: for each loss its inputs, ours, and those peers that are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks import forms
from landweave import losses

WIDTH, LABELS, LABELS_A_ROW, TEMPERATURE = 128, 19, 2.9, 0.1
OURS = "landweave"
Inputs = dict[str, Tensor]
Loss = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class Peer:
    """Another implementation: how to make it, and with which power of the rows its memory grows."""

    make: Callable[[], Loss]
    power: int = 2


@dataclass(frozen=True)
class Limit:
    """What is to be reached at `rows`: so many times less than the peer, or so many MB at most."""

    rows: int
    what: str
    peer: str = ""
    times_less: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Work:
    """A loss to compute, forward and backward, on `rows` rows."""

    inputs: Callable[[int, torch.device], Inputs]
    ours: Loss
    peers: dict[str, Peer] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()


CPU, MEMORY = "seconds", "MB"
PAIRS = "published form (a row a pair)"


def embeddings(rows: int, device: torch.device, seed: int) -> Tensor:
    z = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))
    return z.to(device).requires_grad_()


def two_views(rows: int, device: torch.device) -> Inputs:
    """`rows` rows in all, half a view."""
    return {"a": embeddings(rows // 2, device, 0), "b": embeddings(rows // 2, device, 1)}


def labelled(rows: int, device: torch.device) -> Inputs:
    g = torch.Generator().manual_seed(2)
    y = (torch.rand(rows, LABELS, generator=g) < LABELS_A_ROW / LABELS).float()
    classes = torch.randint(LABELS, (rows,), generator=g)
    return {"z": embeddings(rows, device, 0), "y": y.to(device), "classes": classes.to(device)}


def with_keys(rows: int, device: torch.device) -> Inputs:
    """As many keys as queries, from a momentum encoder: without gradient."""
    return {**labelled(rows, device), "keys": embeddings(rows, device, 1).detach()}


def lightly_nt_xent() -> Loss:
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=0)
    return lambda x: loss(x["a"], x["b"])


def metric_learning_nt_xent() -> Loss:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    loss = SelfSupervisedLoss(NTXentLoss(temperature=TEMPERATURE))
    return lambda x: loss(x["a"], x["b"])


def metric_learning_sup_con() -> Loss:
    from pytorch_metric_learning.losses import SupConLoss

    loss = SupConLoss(temperature=TEMPERATURE)
    return lambda x: loss(x["z"], x["classes"])


def installed(peers: dict[str, tuple[str, Peer]]) -> dict[str, Peer]:
    """Those whose module is here (name -> module and peer)."""
    return {name: peer for name, (module, peer) in peers.items() if not module or find_spec(module)}


def _nt_xent_peers() -> dict[str, Peer]:
    found = installed(
        {
            "lightly": ("lightly", Peer(lightly_nt_xent)),
            "pytorch-metric-learning": ("pytorch_metric_learning", Peer(metric_learning_nt_xent, power=3)),
        }
    )
    if "lightly" not in found:
        plain = Peer(lambda: lambda x: forms.nt_xent_masked(x["a"], x["b"], TEMPERATURE))
        found["torch, as lightly computes it"] = plain
    return found


WORKS: dict[str, Work] = {
    "nt_xent": Work(
        two_views,
        lambda x: losses.nt_xent(x["a"], x["b"], temperature=TEMPERATURE),
        _nt_xent_peers(),
        (
            Limit(8192, CPU, "lightly", times_less=5),
            Limit(8192, MEMORY, "lightly", times_less=30),
            Limit(65536, MEMORY, at_most=200),
        ),
    ),
    "mul_sup_con": Work(
        labelled,
        lambda x: losses.mul_sup_con(x["z"], x["y"], temperature=TEMPERATURE).loss,
        {PAIRS: Peer(lambda: lambda x: forms.mul_sup_con_pairs(x["z"], x["y"], x["z"], x["y"], TEMPERATURE, own=True))},
        (
            Limit(8192, CPU, PAIRS, times_less=10),
            Limit(8192, MEMORY, PAIRS, times_less=100),
            Limit(65536, MEMORY, at_most=200),
        ),
    ),
    "mul_sup_con_keys": Work(
        with_keys,
        lambda x: losses.mul_sup_con_keys(x["z"], x["y"], x["keys"], x["y"], temperature=TEMPERATURE).loss,
        {PAIRS: Peer(lambda: lambda x: forms.mul_sup_con_pairs(x["z"], x["y"], x["keys"], x["y"], TEMPERATURE))},
        (
            Limit(8192, CPU, PAIRS, times_less=10),
            Limit(8192, MEMORY, PAIRS, times_less=100),
            Limit(65536, MEMORY, at_most=200),
        ),
    ),
    "sup_con": Work(
        labelled,
        lambda x: losses.sup_con(x["z"], x["classes"], temperature=TEMPERATURE).loss,
        installed({"pytorch-metric-learning": ("pytorch_metric_learning", Peer(metric_learning_sup_con))}),
        (Limit(65536, MEMORY, at_most=200),),
    ),
    "clip": Work(
        two_views,
        lambda x: losses.clip(x["a"], x["b"], scale=1 / TEMPERATURE),
        {"torch, as in CLIP's figure 3": Peer(lambda: lambda x: forms.clip_dense(x["a"], x["b"], 1 / TEMPERATURE))},
        (Limit(65536, MEMORY, at_most=200),),
    ),
}
