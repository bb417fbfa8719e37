"""Two processes equal one: the loss of the joint batch and its gradient, for every loss."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from landweave.losses import (
    clip,
    dense_alignment,
    gather,
    inter_cross,
    mul_sup_con,
    mul_sup_con_keys,
    nt_xent,
    soft_con,
    sup_con,
    sup_con_keys,
)

N, T = 10, 0.2
SPLITS = ((5, 5), (7, 3), (10, 0))
Rows = Callable[[Tensor], Tensor]


class Model(torch.nn.Module):
    """Two embeddings of each row, and a learned scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(6, 12), torch.nn.Linear(6, 12)
        self.scale = torch.nn.Parameter(torch.tensor(4.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.first(x), self.second(x), self.scale * 1


def maps(z: Tensor) -> Tensor:
    return z.view(-1, 3, 2, 2)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "nt_xent": lambda a, b, y, s: nt_xent(a, b, temperature=T),
    "inter_cross": lambda a, b, y, s: inter_cross(a, b, temperature=T),
    "clip": lambda a, b, y, s: clip(a, b, scale=s),
    "sup_con": lambda a, b, y, s: sup_con(torch.cat([a, b]), y[:, 0].repeat(2), temperature=T).loss,
    "mul_sup_con": lambda a, b, y, s: mul_sup_con(a + b, y, temperature=T).loss,
    "mul_sup_con_keys": lambda a, b, y, s: mul_sup_con_keys(a, y, b, y, temperature=T).loss,
    "sup_con_keys": lambda a, b, y, s: sup_con_keys(a, y, b, y, temperature=T, match="any").loss,
    "soft_con": lambda a, b, y, s: soft_con(a * b, y, temperature=T).loss,
    "dense_same": lambda a, b, y, s: dense_alignment(maps(a), maps(b), temperature=T),
    "dense_shift": lambda a, b, y, s: dense_alignment(maps(a), maps(b)[..., :1], temperature=T),
}


def run(model: torch.nn.Module, x: Tensor, y: Tensor, name: str, rows: Rows) -> Tensor:
    """The loss of all rows and, in the parameters, its gradient."""
    model.zero_grad()
    a, b, scale = model(x)
    loss = LOSSES[name](rows(a), rows(b), rows(y), scale)
    (loss + 0 * (a.sum() + b.sum() + scale)).backward()  # a gradient for every parameter
    return loss.detach()


def near(found: Tensor, expected: Tensor, atol: float = 0.0) -> bool:
    return torch.allclose(found, expected, rtol=1e-5, atol=atol)  # assert_close imports sympy: 3 s a process


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(N, 6, generator=g), (torch.rand(N, 4, generator=g) < 0.4).long()
    alone, shared = Model(), Model()
    for split in SPLITS:
        own = slice(sum(split[:rank]), sum(split[: rank + 1]))
        for name in LOSSES:
            expected, found = run(alone, x, y, name, lambda t: t), run(shared, x[own], y[own], name, gather)
            assert near(found, expected), (name, split, found, expected)
            for p, q in zip(alone.parameters(), shared.parameters(), strict=True):
                assert p.grad is not None
                assert q.grad is not None
                dist.all_reduce(q.grad)  # as DistributedDataParallel does, whose import takes 6 s a process
                assert near(q.grad / 2, p.grad, atol=1e-6), (name, split, q.grad / 2, p.grad)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float64):
        part = torch.arange(6).view(3, 2).to(dtype)
        assert torch.equal(gather(part[: 2 + rank]), torch.cat([part[:2], part]))
        assert gather(part).dtype == dtype
    z = torch.ones(1 + rank, 2, requires_grad=True)
    (gather(z) * torch.tensor([[1.0], [10], [100]]) * (rank + 1)).sum().backward()
    assert z.grad is not None
    assert z.grad[:, 0].tolist() == ([3.0] if rank == 0 else [30.0, 300.0])  # the sum over processes
    (folder / f"done-{rank}").touch()
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    spawn(process, args=(tmp_path,), nprocs=2)
    assert {p.name for p in tmp_path.glob("done-*")} == {"done-0", "done-1"}


def test_one_process_keeps_its_rows() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    assert gather(z) is z


def test_the_order_and_the_embedding_matter_here() -> None:
    """The comparison above can fail: half the batch has another loss than all of it."""
    g: Any = torch.Generator().manual_seed(1)
    x, y = torch.randn(N, 6, generator=g), (torch.rand(N, 4, generator=g) < 0.4).long()
    for name in LOSSES:
        half = run(Model(), x[:5], y[:5], name, lambda t: t)
        assert not torch.isclose(half, run(Model(), x, y, name, lambda t: t), rtol=1e-3), name
