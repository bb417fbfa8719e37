from __future__ import annotations

from pathlib import Path

import pytest
import torch

from landweave.run.state import SafeCheckpointIO, pack_tree, unpack_tree, whole_state

TREE = {
    "epoch": 3,
    "optimizer": [
        {"state": {0: {"step": torch.tensor(7.0), "avg": torch.randn(2, 3)}, 1: {}}, "groups": (1, 2.5, None)}
    ],
    "flags": [True, False, "x"],
    "shared": None,
}


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def test_a_tree_comes_back_as_it_was_with_integer_keys_and_tuples() -> None:
    tensors: dict[str, torch.Tensor] = {}
    plain = pack_tree(TREE, tensors)
    assert len(tensors) == 2
    assert equal(unpack_tree(plain, tensors), TREE)


def test_what_is_not_plain_data_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot stand in a checkpoint"):
        pack_tree({"a": object()}, {})


def test_a_state_is_replaced_whole_and_survives_a_kill_between_the_renames(tmp_path: Path) -> None:
    io, path = SafeCheckpointIO(), tmp_path / "state"
    io.save_checkpoint(TREE, path)
    io.save_checkpoint({**TREE, "epoch": 4}, path)
    assert io.load_checkpoint(path)["epoch"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    path.rename(tmp_path / ".state.part")  # as if killed after the old one was moved away
    assert whole_state(path) == tmp_path / ".state.part"
    assert io.load_checkpoint(path)["epoch"] == 4


def test_a_half_written_state_is_not_taken_for_one(tmp_path: Path) -> None:
    part = tmp_path / ".state.part"
    part.mkdir()
    (part / "state.safetensors").write_bytes(b"half")
    assert whole_state(tmp_path / "state") is None
