"""What a training says to a log, where nobody sees its bar."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from landweave.run import finish
from landweave.run.experiment import recipe
from landweave.run.fit import LINES, Fitting, Keep
from landweave.run.train import train
from tests.run.scenes import ALONE, write_scenes


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


def test_the_last_epoch_is_validated_and_the_table_of_a_resumed_run_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_scenes(tmp_path / "places")
    words = [
        "data.kind=table",
        f"data.path={table}",
        "data.streams=[s2-l2a]",
        *ALONE,
        "train.epochs=3",
        "train.validate_every=2",
    ]
    looked: list[int] = []
    plain = Fitting.on_validation_epoch_end
    monkeypatch.setattr(
        Fitting, "on_validation_epoch_end", lambda self: (looked.append(self.current_epoch), plain(self))[1]
    )
    whole = Keep.on_train_epoch_end

    def killed(self: Keep, trainer: Any, fitting: Any) -> None:
        whole(self, trainer, fitting)
        if fitting.current_epoch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keep, "on_train_epoch_end", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(recipe("supervised", words), tmp_path / "run", progress=False)
    monkeypatch.setattr(Keep, "on_train_epoch_end", whole)
    train(recipe("supervised", words), tmp_path / "run", progress=False)
    assert looked == [1, 2]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows if r["split"] == "validation"] == [1, 2]
    lines = list(csv.DictReader((tmp_path / "run" / "logs" / "csv" / "metrics.csv").open()))
    assert sorted({int(line["step"]) for line in lines}) == [0, 1, 2]


def test_a_run_whose_time_was_spent_is_only_finished_when_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_scenes(tmp_path / "places")
    data = ("data.kind=table", f"data.path={table}", "data.streams=[s2-l2a]")
    settings = recipe("supervised", [*data, *ALONE, "train.epochs=3", "train.max_minutes=1e-5"])
    plain = finish.finish

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        monkeypatch.setattr(finish, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "run", progress=False)
    monkeypatch.setattr(finish, "finish", plain)
    train(settings, tmp_path / "run", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {r["epoch"] for r in rows} == {0}
    assert (tmp_path / "run" / "config.json").is_file()
    lines = list(csv.DictReader((tmp_path / "run" / "logs" / "csv" / "metrics.csv").open()))
    assert {int(line["step"]) for line in lines} == {0}
