from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from landweave.errors import ConfigError
from landweave.nn.absent import MeanFeatures
from landweave.nn.config import Attention, Bilinear, Concat, Fusion, Late, Mean, Stages
from landweave.nn.fusion import FuseMaps, drop_sensors, stack_sensors
from landweave.nn.vectors import fuse_vectors
from tests.nn.tiny_models import batch_of


@pytest.mark.parametrize("fusion", [Concat(), Concat(flags=True), Mean()], ids=["concat", "concat+flags", "mean"])
def test_maps_of_an_absent_sensor_do_not_count(fusion: Fusion) -> None:
    torch.manual_seed(0)
    channels = {"a": [0, 4, 8], "b": [0, 4, 8]}
    means = MeanFeatures({"a": 12, "b": 12})
    means.set({"a": torch.rand(12), "b": torch.rand(12)})
    fuse = FuseMaps(fusion, channels, means, stages=(0, 1, 2))

    def maps(seed: int) -> dict[str, list[torch.Tensor]]:
        made = torch.Generator().manual_seed(seed)
        a = [torch.rand(2, c, n, n, generator=made) for c, n in zip((0, 4, 8), (16, 8, 4), strict=True)]
        b = [torch.rand(2, c, n, n, generator=made) for c, n in zip((0, 4, 8), (8, 4, 2), strict=True)]
        return {"a": a, "b": b}

    seen = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    one, other = maps(0), maps(0)
    other["b"] = [f.clone().index_fill_(0, torch.tensor(1), 7.0) for f in other["b"]]
    out, same = fuse(one, seen, reference="a"), fuse(other, seen, reference="a")
    assert [tuple(f.shape) for f in out] == [(2, 0, 16, 16), (2, 4, 8, 8), (2, 8, 4, 4)]
    assert all(torch.equal(x, y) for x, y in zip(out, same, strict=True))
    if fusion.kind == "mean":
        assert torch.equal(out[1][1], one["a"][1][1])
    else:  # filled in with the part of the mean that belongs to the stage, or with zeros and flags
        fill = [torch.zeros(8, 4, 4), torch.ones(1, 4, 4), torch.zeros(1, 4, 4)]
        fill = fill if fusion == Concat(flags=True) else [means["b"][4:, None, None].expand(8, 4, 4)]
        filled = torch.cat([one["a"][2][1], *fill])
        torch.testing.assert_close(out[2][1], fuse.narrow["2"](filled[None])[0])
    assert fuse(one, seen, reference="b")[1].shape == (2, 4, 4, 4)


@pytest.mark.parametrize("fusion", [Attention(), Bilinear()], ids=lambda f: f.kind)
def test_fusion_that_maps_do_not_have_is_refused(fusion: Fusion) -> None:
    with pytest.raises(ConfigError, match=f"{fusion.kind} fuses one vector a place") as caught:
        FuseMaps(fusion, {"a": [4]}, MeanFeatures({"a": 4}), stages=(0,))
    assert "choose concat, mean or early" in str(caught.value)
    for late in (Stages(), Late()):
        with pytest.raises(ConfigError, match="which the method uperfuse has"):
            FuseMaps(late, {"a": [4], "b": [4]}, MeanFeatures({"a": 4, "b": 4}), stages=(0,))
        with pytest.raises(ConfigError, match=r"set method\.kind=uperfuse"):
            fuse_vectors(late, {"a": 4, "b": 4}, MeanFeatures({"a": 4, "b": 4}))


def test_stack_averages_what_is_seen_of_the_dates_and_keeps_absence() -> None:
    sizes = {"s2-l2a": (8, 8), "s1-rtc-gamma0": (4, 4)}
    batch = batch_of(sizes, T=2, absent=[("s1-rtc-gamma0", 1)])
    s2, s1 = batch.images["s2-l2a"], batch.images["s1-rtc-gamma0"]
    s2.pixels_seen[0, 1, 0, 3, 5] = False
    images = {n: replace(im, data=im.data * im.seen) for n, im in batch.images.items()}
    stacked = stack_sensors(images, "s2-l2a")
    assert stacked.bands[:2] == ("s1-rtc-gamma0 VV", "s1-rtc-gamma0 VH")
    assert stacked.data.shape == (2, 1, 5, 8, 8)
    torch.testing.assert_close(stacked.data[0, 0, 2:, 3, 5], s2.data[0, 0, :, 3, 5])
    torch.testing.assert_close(stacked.data[0, 0, 2:, 0, 0], s2.data[0, :, :, 0, 0].mean(0))
    corner = s1.data[0].mean(0)[:, 0, 0]
    torch.testing.assert_close(stacked.data[0, 0, :2, 0, 0], corner)  # a corner lies beyond the last pixel centre
    assert not stacked.seen[1, 0, :2].any()
    assert (stacked.data[1, 0, :2] == 0).all()
    assert stacked.bands_seen.tolist() == [[True] * 5, [False, False, True, True, True]]


def test_sensor_dropout_is_keyed_by_place_and_leaves_one() -> None:
    B = 400
    batch = batch_of({"s2-l2a": (2, 2), "s1-rtc-gamma0": (2, 2)}, B=B, absent=[("s2-l2a", 0), ("s2-l2a", 1)])
    dropped = drop_sensors(batch, 0.3, (0, 1))
    seen = {n: im.sensor_seen for n, im in dropped.images.items()}
    either = seen["s2-l2a"] | seen["s1-rtc-gamma0"]
    assert either.all(), "never the last sensor"
    assert seen["s1-rtc-gamma0"][:2].all()
    assert not seen["s2-l2a"][:2].any()
    # independent draws, of which 0.3 * 0.3 dropped both; one of these came back
    assert abs(float(seen["s2-l2a"][2:].float().mean()) - (1 - 0.3 + 0.045)) < 0.08
    gone = ~seen["s2-l2a"]
    assert not dropped.images["s2-l2a"].seen[gone].any()
    assert (dropped.images["s2-l2a"].data[gone] == 0).all()
    # the same for a place wherever it stands, other for another epoch
    tail = replace(batch.map(lambda t: t[200:]), names=batch.names[200:], groups=batch.groups[200:])
    again = drop_sensors(tail, 0.3, (0, 1)).images["s2-l2a"].sensor_seen
    assert torch.equal(again, seen["s2-l2a"][200:])
    other = drop_sensors(batch, 0.3, (0, 2)).images["s2-l2a"].sensor_seen
    assert not torch.equal(other, seen["s2-l2a"])
    assert drop_sensors(batch, 0.0, (0, 1)) is batch
