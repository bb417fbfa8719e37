"""U-TAE against its published blocks: `python -m benchmarks.utae [--json FILE] [--rounds N]`.

Forward and backward of 4 series of 60 dates, 10 bands and 10 x 10 pixels, in float32 on one thread: once with all
dates seen, once with 60, 43, 25 and 8 of them (FLAIR-HUB's series of Sentinel-2 have 146 to 20 dates). The peer has
the same weights in the published order: each block that dates go through one by one runs on zeros first, to learn the
shape of what it gives, then on the images; attention projects all dates before it weighs them. Both take padding as
the official code does, so that they give the same. They run in turn in one process; seconds are CPU seconds of it, the
ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.losses import machine
from landweave.nn.config import UTAE
from landweave.nn.utae import LTAE, UTAENet, encoding

PLACES, DATES, BANDS, SIDE = 4, 60, 10, 10
SEEN = {"all dates seen": (60, 60, 60, 60), "padded": (60, 43, 25, 8)}
"""How many dates of each place are seen."""
LIMITS = {"all dates seen": 1.4, "padded": 1.6}
"""How many times less CPU time ours must take."""
PEER = "published blocks"
Maps = Callable[[UTAENet, Tensor, Tensor, Tensor], list[Tensor]]


@dataclass(frozen=True)
class Row:
    """One comparison, in CPU seconds; `times_less` is the peer's figure over ours."""

    work: str
    peer: str
    figure: float
    ours: float
    times_less: float
    limit: float
    reached: bool
    note: str


def main(words: list[str] | None = None) -> int:
    """Print a row a work, and write them if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.utae", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=7, help="how often each side runs")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    rows = []
    for row in compare(args.rounds):
        rows.append(row)
        print(line(row), flush=True)
    if args.json:
        part = args.json.with_suffix(".part")
        part.write_text(json.dumps({"machine": machine("cpu"), "rows": [asdict(r) for r in rows]}, indent=1) + "\n")
        part.replace(args.json)
    return 0


def line(row: Row) -> str:
    """A row as text."""
    verdict = "reached" if row.reached else "NOT reached"
    return (
        f"{row.work:<15} {row.peer}: {row.figure:.3g} s, ours {row.ours:.3g} s, {row.times_less:.2f} x less "
        f"(limit {row.limit:g}: {verdict}); {row.note}"
    )


def compare(rounds: int, dates: int = DATES) -> Iterator[Row]:
    """A row for each of `SEEN`, its counts brought down in proportion where there are fewer dates."""
    for work, counts in SEEN.items():
        net = network()
        nets = {PEER: copy.deepcopy(net).to(memory_format=torch.contiguous_format), "ours": net}
        inputs = series([max(1, n * dates // DATES) for n in counts], dates)
        apart = difference(net, inputs)
        sides: dict[str, Maps] = {PEER: published, "ours": ours}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for name, side in sides.items():
            step(nets[name], side, inputs)  # first calls start the autograd engine
        for _ in range(rounds):
            for name, side in sides.items():
                begun = time.process_time()
                step(nets[name], side, inputs)
                taken[name].append(time.process_time() - begun)
        ratio = statistics.median(p / o for p, o in zip(taken[PEER], taken["ours"], strict=True))
        figure, mine = (statistics.median(taken[name]) for name in (PEER, "ours"))
        note = f"outputs differ by {apart:.0e} of their deviation in float64, {rounds} round{'s' * (rounds > 1)}"
        yield Row(work, PEER, figure, mine, ratio, LIMITS[work], ratio >= LIMITS[work], note)


def network() -> UTAENet:
    """U-TAE of the sizes that FLAIR-HUB gives it alone; nothing dropped, so that both sides give the same."""
    torch.manual_seed(0)
    return UTAENet(UTAE(dropout=0.0, attention_dropout=0.0, padding="official"), bands=BANDS)


def series(counts: list[int], dates: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (zeros where a date is padding), days, and which dates are seen."""
    made = torch.Generator().manual_seed(1)
    seen = torch.arange(dates) < torch.tensor(counts)[:, None]
    x = torch.randn(PLACES, dates, BANDS, SIDE, SIDE, generator=made) * seen[..., None, None, None]
    return x, torch.linspace(-130, 220, dates).expand(PLACES, -1) * seen, seen


def step(net: UTAENet, side: Maps, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Forward and backward through all maps."""
    net.zero_grad()
    maps = side(net, *inputs)
    torch.stack([f.square().mean() for f in maps]).sum().backward()  # type: ignore[no-untyped-call]
    return maps


def difference(net: UTAENet, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """The largest difference of the maps of both sides in float64, in their deviations.

    Group norms of nearly constant groups make float32 differ by more, also from itself on another processor.
    """
    exact, (x, days, seen) = copy.deepcopy(net).double().eval(), inputs
    with torch.no_grad():
        both = zip(published(exact, x.double(), days, seen), ours(exact, x.double(), days, seen), strict=True)
        return max(float((p - o).abs().max() / p.std()) for p, o in both)


def ours(net: UTAENet, x: Tensor, days: Tensor, seen: Tensor) -> list[Tensor]:
    """landweave's."""
    return net(x, days, seen)  # type: ignore[no-any-return]


def published(net: UTAENet, x: Tensor, days: Tensor, seen: Tensor) -> list[Tensor]:
    """The same weights in the order of the paper (Garnot and Landrieu 2021, section 3) and of its code."""
    padding = x.eq(0).all(4).all(3).all(2)
    levels = [twice(net.first, x)]
    for block in net.down:
        levels.append(twice(block, levels[-1]))
    deepest, attention = attended(net.attention, levels[-1], days, padding)
    maps = [deepest]
    for block, level in zip(net.up, reversed(levels[:-1]), strict=True):
        maps.append(block(maps[-1], aggregated(level, attention, padding)))
    return maps


def twice(block: nn.Module, x: Tensor) -> Tensor:
    """A block over the dates of all places: on zeros, for the shape, then on the images that are no padding."""
    rows = x.flatten(0, 1)
    shape = block(torch.zeros_like(rows)).shape
    padding = rows.eq(0).all(3).all(2).all(1)
    if bool(padding.any()):
        found = rows.new_zeros(shape)
        found[~padding] = block(rows[~padding])
    else:
        found = block(rows)
    return found.view(*x.shape[:2], *found.shape[1:])


def attended(ltae: LTAE, x: Tensor, days: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
    """L-TAE: norm, projection and encoding of every date, then keys, scores, and the weighted sum of the values."""
    B, T, C, h, w = x.shape
    heads, width = ltae.heads, ltae.project.out_features
    N = B * h * w
    rows = x.permute(0, 3, 4, 1, 2).reshape(N, T, C)
    rows = ltae.norm(rows.transpose(1, 2))
    rows = F.conv1d(rows, ltae.project.weight[..., None], ltae.project.bias).transpose(1, 2)
    when = days[..., None, None].expand(B, T, h, w).permute(0, 2, 3, 1).reshape(N, T)
    rows = rows + encoding(when, width // heads, ltae.period).repeat(1, 1, heads)
    keys = ltae.keys(rows).view(N, T, heads, ltae.key).permute(2, 0, 1, 3).reshape(-1, T, ltae.key)
    query = ltae.query[:, None].expand(heads, N, ltae.key).reshape(-1, 1, ltae.key)
    values = torch.stack(rows.chunk(heads, dim=2)).view(heads * N, T, -1)
    hidden = padding[:, None].expand(B, h * w, T).reshape(N, T).repeat(heads, 1)
    scores = (query @ keys.transpose(1, 2))[:, 0] / ltae.key**0.5
    weights = scores.masked_fill(hidden, -1e3).softmax(1)
    found = (weights[:, None] @ values).view(heads, N, -1).permute(1, 0, 2).reshape(N, width)
    found = ltae.last(ltae.mix(found)).view(B, h, w, -1).permute(0, 3, 1, 2)
    return found, weights.view(heads, B, h, w, T).permute(0, 1, 4, 2, 3)


def aggregated(level: Tensor, attention: Tensor, padding: Tensor) -> Tensor:
    """The dates of a level, each group of channels weighed by its head."""
    heads, B, T, h, w = attention.shape
    share = F.avg_pool2d(attention.reshape(heads * B, T, h, w), w // level.shape[-1]).view(heads, B, T, h, w)
    share = share * (~padding)[None, :, :, None, None]
    parts = torch.stack(level.chunk(heads, dim=2))
    return torch.cat(list((share[:, :, :, None] * parts).sum(2)), 1)


if __name__ == "__main__":
    sys.exit(main())
