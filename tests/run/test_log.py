"""What a training says to a log, where nobody sees its bar."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from landweave.run.fit import LINES, Keep


@pytest.mark.parametrize("epochs", [1, 7, 20, 21, 500])
def test_a_log_gets_a_few_lines_that_name_the_run(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: False))
    said: list[str] = []
    train = SimpleNamespace(epochs=epochs, monitor="")
    kind = SimpleNamespace(kind=SimpleNamespace(kind="class", beside={}))
    fitting: Any = SimpleNamespace(
        experiment=SimpleNamespace(train=train, method=SimpleNamespace(faults=(), monitor="")), material=kind
    )
    keep = Keep(Path("runs/mine"), said.append)
    for epoch in range(epochs):
        keep._say(fitting, [{"epoch": epoch, "loss": 0.5, "split": "train"}])
    assert 0 < len(said) <= LINES + 1
    assert said[-1] == f"mine: epoch {epochs} of {epochs}, train loss 0.5"
