"""The decoder of DeepLabV3+: the wiring of the baseline of DFC2020, by hand, and any backbone in front of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landweave.errors import ConfigError
from landweave.nn.config import Concat, DeepLab, Encoder
from landweave.nn.decoders import DeepLabDecoder, MapHead, stages_of
from landweave.nn.model import MapModel
from tests.nn.test_model import assert_every_weight_learns, wake
from tests.nn.tiny_models import batch_of, contract_of

RESNET50 = (64, 256, 512, 1024, 2048)


def pyramid(channels: tuple[int, ...], size: int, B: int = 2) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.randn(B, c, size >> (i + 1), size >> (i + 1), generator=made) for i, c in enumerate(channels)]


def convolutions(module: nn.Module) -> list[tuple[int, int, int, int]]:
    return [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.dilation[0])
        for m in module.modules()
        if isinstance(m, nn.Conv2d)
    ]


def test_the_wiring_of_a_resnet50_is_that_of_the_baseline() -> None:
    head = MapHead(DeepLab(), channels=RESNET50, classes=10)
    assert convolutions(head) == [
        (2048, 256, 1, 1), (2048, 256, 3, 6), (2048, 256, 3, 12), (2048, 256, 3, 18), (2048, 256, 1, 1),
        (1280, 256, 1, 1), (256, 48, 1, 1), (304, 256, 3, 1), (256, 256, 3, 1), (256, 10, 1, 1),
    ]  # fmt: skip
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5, 0.1]
    seen: dict[str, tuple[int, ...]] = {}
    decoder = head.decoder
    assert isinstance(decoder, DeepLabDecoder)
    decoder.aspp.register_forward_pre_hook(lambda _, x: seen.update(high=tuple(x[0].shape)))
    decoder.narrow.register_forward_pre_hook(lambda _, x: seen.update(low=tuple(x[0].shape)))
    found = head.eval()(pyramid(RESNET50, 256, B=1), (256, 256))
    assert seen == {"high": (1, 2048, 16, 16), "low": (1, 256, 64, 64)}
    assert found.shape == (1, 10, 256, 256)


def test_it_computes_the_formula() -> None:
    torch.manual_seed(0)
    decoder = DeepLabDecoder(DeepLab(channels=8, low=3), low=4, high=6).eval()
    for norm in (m for m in decoder.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    image, *maps = torch.zeros(2, 0, 64, 64), *pyramid((5, 4, 4, 4, 6), 64)

    def block(layers: nn.Module, x: torch.Tensor, **options: int) -> torch.Tensor:
        conv, norm = (m for m in layers.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)))
        assert isinstance(conv, nn.Conv2d)
        return F.relu(norm(F.conv2d(x, conv.weight, **options)))

    low, high = maps[1], F.interpolate(maps[-1], scale_factor=2, mode="bilinear", align_corners=False)
    one, six, twelve, eighteen, mean = decoder.aspp.convs
    branches = [block(one, high)]
    branches += [block(m, high, padding=d, dilation=d) for m, d in ((six, 6), (twelve, 12), (eighteen, 18))]
    branches.append(block(mean, high.mean((2, 3), keepdim=True)).expand_as(branches[0]))
    x = block(decoder.aspp.project, torch.cat(branches, 1))
    x = F.interpolate(x, size=low.shape[-2:], mode="bilinear", align_corners=True)
    x = torch.cat([x, block(decoder.narrow, low)], 1)
    conv1, norm1, _, _, conv2, norm2, _, _ = decoder.join
    x = F.relu(norm1(F.conv2d(x, conv1.weight, padding=1)))
    x = F.relu(norm2(F.conv2d(x, conv2.weight, padding=1)))
    torch.testing.assert_close(decoder([image, *maps]), x, rtol=1e-4, atol=1e-5)


def test_pyramid_pooling_stands_in_a_sixteenth_whatever_the_stride_of_the_encoder() -> None:
    """An encoder of stride 16 has its last map there already (Chen et al. 2018): no need to enlarge it."""
    decoder = DeepLabDecoder(DeepLab(channels=16, low=3), low=4, high=6).eval()
    seen: list[tuple[int, ...]] = []
    decoder.aspp.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[-2:])))
    for last in (2, 4):
        maps = [torch.zeros(1, 0, 64, 64), *pyramid((5, 4, 4, 4), 64, B=1), torch.zeros(1, 6, last, last)]
        assert decoder(maps).shape[-2:] == (16, 16)
    assert seen == [(4, 4), (4, 4)]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_it_reads_two_stages_of_any_backbone_and_trains_on_one_place(name: str) -> None:
    torch.manual_seed(0)
    settings = DeepLab(channels=16, low=8, dropout=(0, 0, 0))
    assert stages_of(settings) == (1, 4)
    contract = contract_of({"s2-l2a": (64, 64), "s1-rtc-gamma0": (30, 30)})
    model = MapModel(contract, Encoder(name=name), Concat(), decoder=settings, classes=3)
    sizes = {"s2-l2a": (64, 64), "s1-rtc-gamma0": (30, 30)}
    assert model.train()(batch_of(sizes, B=1)).logits.shape == (1, 3, 64, 64)
    wake(model)
    model(batch_of(sizes, B=4)).logits.square().mean().backward()
    if name == "test_resnet":  # the others have stages that the decoder does not read
        assert_every_weight_learns(model)


def test_a_backbone_without_a_map_of_a_quarter_is_refused() -> None:
    with pytest.raises(ConfigError, match="map of 1/4"):
        MapHead(DeepLab(), channels=(0, 0, 8, 8, 8), classes=3)
