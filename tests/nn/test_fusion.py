from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from landweave.nn.fusion import FuseMaps, FuseVectors, MeanFeatures, drop_sensors, stack_sensors
from tests.nn.tiny_models import batch_of


def test_vectors_by_loops() -> None:
    h = {
        "a": torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]),
        "b": torch.tensor([[5.0, 6.0], [7.0, 8.0], [9.0, 9.0]]),
    }
    seen = {"a": torch.tensor([True, False, False]), "b": torch.tensor([True, True, False])}
    widths = {"a": 2, "b": 2}
    means = MeanFeatures(widths)
    means.set({"a": torch.tensor([-1.0, -2.0]), "b": torch.tensor([-3.0, -4.0])})
    concat = FuseVectors("concat", widths, means)(h, seen)
    assert concat.tolist() == [[1, 2, 5, 6], [-1, -2, 7, 8], [-1, -2, -3, -4]]
    mean = FuseVectors("mean", widths, means)(h, seen)
    assert mean.tolist() == [[3, 4], [7, 8], [0, 0]]
    swapped = FuseVectors("concat", widths, means)({"b": h["b"], "a": h["a"]}, seen)
    assert torch.equal(swapped, concat)


def test_mean_features_refuse_what_does_not_fit() -> None:
    means = MeanFeatures({"a": 2})
    with pytest.raises(ValueError, match="sensors"):
        means.set({"b": torch.zeros(2)})
    with pytest.raises(ValueError, match="mean of"):
        means.set({"a": torch.zeros(1)})


@pytest.mark.parametrize("how", ["concat", "mean"])
def test_maps_of_an_absent_sensor_do_not_count(how: str) -> None:
    torch.manual_seed(0)
    channels = {"a": [0, 4, 8], "b": [0, 4, 8]}
    means = MeanFeatures({"a": 12, "b": 12})
    means.set({"a": torch.rand(12), "b": torch.rand(12)})
    fuse = FuseMaps(how, channels, means, stages=(0, 1, 2))  # type: ignore[arg-type]

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
    if how == "mean":
        assert torch.equal(out[1][1], one["a"][1][1])
    else:  # filled in with the part of the mean that belongs to the stage
        filled = torch.cat([one["a"][2][1], means["b"][4:, None, None].expand(8, 4, 4)])
        torch.testing.assert_close(out[2][1], fuse.narrow["2"](filled[None])[0])
    assert fuse(one, seen, reference="b")[1].shape == (2, 4, 4, 4)


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
