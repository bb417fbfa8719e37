"""A model of SEN12MS's coarse labels, scored on the finer ones that DFC2020 drew by hand: classes go by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from landweave.errors import ConfigError
from landweave.run.evaluate import evaluate
from landweave.run.experiment import recipe
from landweave.run.finish import finish
from landweave.run.material import gather
from tests.data.test_dfc2020 import CLASSES
from tests.data.test_dfc2020 import patch as fine_patch
from tests.data.test_sen12ms import SIDE, SPRING
from tests.data.test_sen12ms import patch as coarse_patch


def trained(folder: Path, scheme: str) -> Path:
    """A finished run of random weights on coarse labels."""
    data, run = folder / "sen12ms", folder / scheme
    codes = np.arange(1, 18).repeat(16)[: SIDE * SIDE].reshape(SIDE, SIDE)
    for scene in (1, 2, 3, 63):
        for number in (30, 31):
            coarse_patch(data, SPRING, scene, number, codes)
    (data / "SEN12MS_holdOutScenes.txt").write_text(f"{SPRING}/s1_63\n")
    changes = ("data.kind=sen12ms", f"data.path={data}", f"data.scheme={scheme}", "data.validation_share=0.4")
    small = ("method.encoder.name=test_resnet", "method.decoder={kind: deeplab, channels: 16, low: 8}")
    experiment = recipe("segment", [*changes, *small])
    run.mkdir()
    material = gather(experiment, run)
    torch.manual_seed(0)
    finish(experiment, material, experiment.method.build(material.contract, material.kind), run)
    return run


def test_ten_classes_of_igbp_are_those_of_dfc2020(tmp_path: Path) -> None:
    run = trained(tmp_path, "igbp-10")
    for number in (5, 9):
        fine_patch(tmp_path / "dfc", "validation", number)
        fine_patch(tmp_path / "dfc", "test", number)
    here = ["data.kind=dfc2020", f"data.path={tmp_path / 'dfc'}"]
    result = evaluate(run, changes=[*here, "data.classes=10"])
    assert [c["name"] for c in result["classes"]][-1] == "Water", "17 in SEN12MS's files, 10 in these"
    assert [c["support"] for c in result["classes"]] == [2 * int((CLASSES == code).sum()) for code in range(1, 11)]
    assert not result["classes"][-1]["trained"]
    assert result["n"] == 2 * CLASSES.size * 0.9, "what no training label was is told, not scored"
    with pytest.raises(ConfigError, match=r"(?s)Savanna.*data\.classes=10"):
        evaluate(run, changes=here)


def test_other_schemes_have_other_classes(tmp_path: Path) -> None:
    run = trained(tmp_path, "igbp-17")
    fine_patch(tmp_path / "dfc", "validation", 5)
    fine_patch(tmp_path / "dfc", "test", 9)
    with pytest.raises(ConfigError, match="the run was trained on Evergreen needleleaf forest"):
        evaluate(run, changes=["data.kind=dfc2020", f"data.path={tmp_path / 'dfc'}", "data.classes=10"])
