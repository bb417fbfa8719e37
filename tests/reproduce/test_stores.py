"""Data packed for short runs: what the runs' own data say of reading goes along."""

from __future__ import annotations

from pathlib import Path

from landweave.data.dataset import DataConfig
from landweave.reproduce.plan import plan
from landweave.reproduce.stores import packed
from tests.reproduce import small


def test_every_setting_but_the_packed_ones_goes_along(tmp_path: Path) -> None:
    changes = ("data.statistics={s2-l2a: {B02: [1, 2]}}", "data.enlarge=2", "data.coarsen=2", "data.offset={s2-l2a: 3}")
    one = small.built(changes=(*small.built().changes, *changes))
    before = plan(one, {"w": str(small.store(tmp_path / "w"))}, "full")
    (after,) = packed(before, tmp_path / "out", lambda _: None)
    mine, theirs = before[0].experiment.data, after.experiment.data
    assert mine.statistics
    unlike = {k for k in DataConfig.model_fields if getattr(mine, k) != getattr(theirs, k)}
    assert unlike == {"path", "offset", "coarsen"}  # the store is made with these
