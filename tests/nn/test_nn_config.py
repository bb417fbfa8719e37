from __future__ import annotations

import subprocess
import sys

import pytest
import timm
from pydantic import TypeAdapter, ValidationError

from landweave.config import parse
from landweave.errors import ConfigError
from landweave.nn.config import Attention, Decoder, Early, Encoder, Fusion, UPerNet, backbones
from landweave.run.experiment import recipe


def test_shipped_list_of_backbones_is_that_of_the_locked_timm() -> None:
    assert list(backbones()) == timm.list_models()


def test_unknown_backbone_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone `resnet8`, did you mean `resnet18`") as caught:
        parse(Encoder, {"name": "resnet8"}, where="r.yaml")
    assert len(str(caught.value).splitlines()) < 10
    with pytest.raises(ConfigError, match="did you mean `lcnet_050`"):  # lcnet_075 has as many letters in common
        parse(Encoder, {"name": "lcnet_05"})
    assert Encoder(name="mma-vgg").name == "mma-vgg"
    with pytest.raises(ConfigError, match="did you mean `mma-vgg`"):
        parse(Encoder, {"name": "mma_vgg"}, where="r.yaml")


def test_weights_of_a_backbone_that_has_none_are_refused_with_what_to_set() -> None:
    """The recipes of FLAIR-HUB ask for timm's, so that leaving them out is nothing that a change can do."""
    asked = ["data.path=DIR", "method.encoder.name=mit_b2"]
    with pytest.raises(ConfigError, match=r"mit_b2 is not timm's.*; set method\.encoder\.weights=random"):
        recipe("flair/lc-a", asked)
    assert recipe("flair/lc-a", [*asked, "method.encoder.weights=random"]).method.encoder.weights == "random"


def test_attention_whose_width_does_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="a width of 10 does not divide into 4 parts"):
        Attention(width=10)


def test_families_are_told_by_kind() -> None:
    assert TypeAdapter(Fusion).validate_python({"kind": "early"}) == Early()
    assert TypeAdapter(Decoder).validate_python({"kind": "upernet", "channels": 64}) == UPerNet(channels=64)
    with pytest.raises(ValidationError):
        TypeAdapter(Fusion).validate_python({"kind": "atention"})


def test_settings_load_without_torch_and_networks_and_methods_without_rasterio() -> None:
    code = """
import sys
sys.modules["rasterio"] = None
import landweave.nn.config, landweave.methods
heavy = {"torch", "timm", "lightning", "kornia"} & set(sys.modules)
assert not heavy, heavy
import landweave.nn.model, landweave.methods.terms
import landweave.losses.contrastive, landweave.losses.supcon, landweave.losses.supervised
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
