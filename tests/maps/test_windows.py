from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landweave.maps.windows import Blender, axis, hann, lanes, largest


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 20), st.booleans()
)
def test_windows_cover_every_pixel_and_keep_to_the_lattice(
    length: int, size: int, stride: int, step: int, base: int, regular: bool
) -> None:
    size, stride = size * step, min(stride, size) * step
    a = axis(length, size, stride, base=base, step=step, regular=regular)
    covered = np.zeros(length + 3 * size, int)
    for s in a.starts:
        assert (s - base) % step == 0
        covered[s + step : s + step + size] += 1
    assert covered[step : step + length].all()
    assert list(a.starts) == sorted(set(a.starts))
    assert all(b - c <= stride for b, c in zip(a.starts[1:], a.starts, strict=False))
    assert len(a.starts) < 2 or a.starts[-2] + size < length + step  # none is superfluous
    if regular:
        assert {b - c for b, c in zip(a.starts[1:], a.starts, strict=False)} <= {stride}


def test_the_last_window_is_moved_back_to_the_edge() -> None:
    assert axis(23, 8, 4).starts == (0, 4, 8, 12, 15)
    assert axis(23, 8, 4, step=2).starts == (0, 4, 8, 12, 16)
    assert axis(5, 8, 4).starts == (0,)


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match="stride 9"):
        axis(20, 8, 9)


def test_weights_are_positive_and_add_up_to_one_at_half_overlap() -> None:
    for size in (2, 8, 56):
        w = hann(size)
        assert (w > 0).all()
        assert np.argmax(w) in (size // 2 - 1, size // 2)
        np.testing.assert_allclose(w[: size // 2] + w[size // 2 :], 1, atol=1e-6)


def test_lanes_are_aligned_cover_all_and_keep_the_limit() -> None:
    cut = lanes(5000, 1000, 1_600_000)
    assert cut[0][0] == 0
    assert cut[-1][1] == 5000
    assert all(a[1] == b[0] and a[1] % 512 == 0 for a, b in pairwise(cut))
    assert max(b - a for a, b in cut) == 1536
    assert lanes(100, 1e9, 1)[0] == (0, 100)  # never less than a block


def test_blending_equals_loops_over_the_whole_raster() -> None:
    rng = np.random.default_rng(0)
    H, W, size = 23, 31, 8
    rows, cols = axis(H, size, 3), axis(W, size, 5)
    found = {(r, c): rng.random((2, size, size), np.float32) for r in rows.starts for c in cols.starts}
    sums, weights = np.zeros((2, H, W)), np.zeros((H, W))
    for (r, c), p in found.items():
        for i in range(size):
            for j in range(size):
                if r + i < H and c + j < W:
                    w = hann(size)[i] * hann(size)[j]
                    sums[:, r + i, c + j] += w * p[:, i, j]
                    weights[r + i, c + j] += w
    for first, last in ((0, 31), (9, 20)):
        blender = Blender(2, rows, cols, first, last)
        got, normal, at = [], [], 0
        for start, finished in rows.rows_done():
            for c in cols.meeting(first, last):
                blender.add(c, torch.from_numpy(found[start, c]))
            for top, done in blender.leave(finished):
                assert top == at
                at += done.shape[1]
                got.append(done.copy())
                normal.append(blender.weights(top, done.shape[1]))
        assert at == H
        np.testing.assert_allclose(np.concatenate(got, 1), sums[:, :, first:last], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(np.concatenate(normal), weights[:, first:last], rtol=1e-5)


def test_the_largest_is_the_first_of_the_largest() -> None:
    sums = np.random.default_rng(0).integers(0, 4, (7, 33, 50)).astype(np.float32)  # many ties
    np.testing.assert_array_equal(largest(sums), np.argmax(sums, axis=0))
    np.testing.assert_array_equal(largest(sums[:, ::2, 3:]), np.argmax(sums[:, ::2, 3:], axis=0))
    np.testing.assert_array_equal(largest(sums[:1]), 0)
    wide = np.random.default_rng(1).random((255, 2, 20_000), np.float32)
    np.testing.assert_array_equal(largest(wide), np.argmax(wide, axis=0))
