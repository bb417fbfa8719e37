"""Figures of reconstruction and suspicion against plain loops, and the verdict where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.metrics.reconstruction import WINDOW, Reconstruction
from landweave.metrics.suspicion import KINDS, SEEN, Spread, Values, block_statistics, limit_of, of_image
from landweave.metrics.verdict import Clean, judge

RNG = np.random.default_rng(0)


def test_scores_are_those_of_plain_loops_and_parts_add_up() -> None:
    truth, found = RNG.random((2, 16, 16)), RNG.random((2, 16, 16))
    seen = RNG.random((2, 16, 16)) < 0.9
    seen[:, :8, :8] = True
    span = np.array([1.0, 2.0])
    table = Reconstruction(span)
    table.add(truth, found, seen)
    told = table.scores(["a", "b"])
    for c, band in enumerate("ab"):
        mse = np.mean([(t - p) ** 2 for t, p, s in zip(truth[c].flat, found[c].flat, seen[c].flat, strict=True) if s])
        assert told["bands"][band]["rmse"] == pytest.approx(math.sqrt(mse))
        assert told["bands"][band]["psnr"] == pytest.approx(10 * math.log10(span[c] ** 2 / mse))
        values = [
            _ssim(truth[c, i : i + WINDOW, j : j + WINDOW], found[c, i : i + WINDOW, j : j + WINDOW], span[c])
            for i in (0, 8)
            for j in (0, 8)
            if seen[c, i : i + WINDOW, j : j + WINDOW].all()
        ]
        assert told["bands"][band]["ssim"] == pytest.approx(np.mean(values))
    angles = [_angle(truth[:, i, j], found[:, i, j]) for i in range(16) for j in range(16) if seen[:, i, j].all()]
    assert told["sam"] == pytest.approx(np.mean(angles))
    halves = Reconstruction(span)
    halves.add(truth[:, :8], found[:, :8], seen[:, :8])
    halves.add(truth[:, 8:], found[:, 8:], seen[:, 8:])
    assert halves.scores(["a", "b"])["bands"]["a"] == pytest.approx(told["bands"]["a"])


def _ssim(x: NDArray[np.float64], y: NDArray[np.float64], span: float) -> float:
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    both = np.mean((x - x.mean()) * (y - y.mean()))
    top = (2 * x.mean() * y.mean() + c1) * (2 * both + c2)
    return float(top / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var() + y.var() + c2)))


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return math.degrees(math.acos(min(1.0, float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))))


def test_a_perfect_reconstruction_has_no_error() -> None:
    truth = RNG.random((3, 8, 8))
    table = Reconstruction(np.ones(3))
    table.add(truth, truth, np.ones_like(truth, bool))
    told = table.scores(["a", "b", "c"])
    assert told["bands"]["a"] == {"rmse": 0.0, "psnr": None, "ssim": pytest.approx(1.0)}
    assert told["sam"] == pytest.approx(0.0, abs=1e-5)


def test_figures_of_blocks_are_those_of_plain_loops() -> None:
    residual = RNG.normal(0, 0.1, (2, 16, 24)).astype(np.float32)
    values = RNG.integers(0, 6, (2, 16, 24)).astype(float)
    seen = np.ones((2, 16, 24), bool)
    seen[1, :8, :8] = RNG.random((8, 8)) < 0.8
    seen[0, 8:, 16:] = RNG.random((8, 8)) < 0.2
    found = block_statistics(residual, values, seen, block=8, dark=0.0)
    assert found.shape == (2, len(KINDS), 2, 3)
    for c in range(2):
        for i in range(2):
            for j in range(3):
                at = (c, slice(8 * i, 8 * i + 8), slice(8 * j, 8 * j + 8))
                expected = _figures(residual[at], values[at], seen[at])
                np.testing.assert_allclose(found[c, :, i, j], expected, rtol=1e-4, err_msg=f"{c} {i} {j}")


def _figures(r: NDArray[np.float32], x: NDArray[np.float64], s: NDArray[np.bool_]) -> list[float]:
    if s.mean() < SEEN:
        return [math.nan] * 4
    level = np.median(r[s])
    rough = 1.4826 * np.median(np.abs(r[s] - level))
    jump = 0.0
    for rows, marks in ((r, s), (r.T, s.T)):
        mean = [rows[k][marks[k]].mean() if marks[k].mean() >= SEEN else math.nan for k in range(8)]
        steps = [abs(mean[k] - (mean[k - 1] + mean[k + 1]) / 2) for k in range(1, 7)]
        jump = max([jump, *(v for v in steps if math.isfinite(v))])
    ranked = sorted(x[s])
    same = max(
        sum(v == m and (v > 0 or q < -0.5) for v, q in zip(x[s], r[s], strict=True)) / s.sum()
        for m in (ranked[0], ranked[len(ranked) // 2], ranked[-1])
    )
    return [float(level), math.log(rough + 1e-3), math.log(jump + 1e-3), same]


def test_clear_water_that_is_cut_off_at_zero_is_not_flat_but_a_dead_band_over_land_is() -> None:
    values, seen = np.zeros((1, 8, 8)), np.ones((1, 8, 8), bool)
    for residual, flat in ((0.0, 0.0), (-0.9, 1.0)):
        found = block_statistics(np.full((1, 8, 8), residual, np.float32), values, seen, block=8, dark=0.0)
        assert found[0, KINDS.index("flat"), 0, 0] == flat


def test_the_limit_is_exceeded_by_about_the_wanted_share() -> None:
    assert limit_of([3.0, 1.0, 2.0], 0.05) == 3.0  # too few for it: the largest
    assert limit_of(list(range(1, 100)), 0.05) == 95
    clean = RNG.normal(size=(2000, 40))
    above = [row[-1] > limit_of(row[:-1].tolist(), 0.1) for row in clean]
    assert np.mean(above) == pytest.approx(0.1, abs=0.02)


# ---- the verdict, where bands are Gaussian and the truth is known

C, N = 6, 80
MIX = RNG.normal(size=(C, 2))
COVARIANCE = MIX @ MIX.T + 0.01 * np.eye(C)


def _image(x: NDArray[np.float64], hidden: tuple[int, ...] = ()) -> Values:
    """Figures of an image whose every pixel is x: the residual of each band given the others, by the covariance."""
    out = np.zeros((C, len(KINDS)))
    out[:, 1:3] = math.log(0.01)
    for c in range(C):
        kept = [d for d in range(C) if d != c and d not in hidden]
        out[c, 0] = x[c] - COVARIANCE[c, kept] @ np.linalg.solve(COVARIANCE[np.ix_(kept, kept)], x[kept])
    return out


def _looser(hidden: tuple[int, ...]) -> Values:
    def error(c: int, without: tuple[int, ...]) -> float:
        kept = [d for d in range(C) if d != c and d not in without]
        gain = np.linalg.solve(COVARIANCE[np.ix_(kept, kept)], COVARIANCE[kept, c])
        return float(COVARIANCE[c, c] - COVARIANCE[c, kept] @ gain)

    return np.array([math.sqrt(error(c, hidden) / error(c, ())) for c in range(C)])


@pytest.fixture(scope="module")
def clean() -> Clean:
    drawn = RNG.multivariate_normal(np.zeros(C), COVARIANCE, 2 * N)
    figures = [_image(x) for x in drawn[:N]]
    return Clean.of(figures, [f[:, :, None, None] for f in figures], learned=drawn[N:], medians=drawn[:N])


def test_the_faulty_band_is_named_and_not_those_predicted_from_it(clean: Clean) -> None:
    named, wrong = 0, 0
    for n in range(40):
        x = RNG.multivariate_normal(np.zeros(C), COVARIANCE)
        x[n % C] += 2.0
        assert (clean.scores(_image(x))[:, 0] > 1).sum() > 1 or n  # others look off too
        found = judge(clean, lambda hidden, x=x: (_image(x, hidden), _looser(hidden)), x)  # type: ignore[misc]
        named += found.suspects == (n % C,) and not found.unlike
        wrong += n % C not in found.suspects and bool(found.suspects)
    assert named >= 28
    assert wrong <= 2


def test_clean_images_are_seldom_accused(clean: Clean) -> None:
    verdicts = []
    for _ in range(100):
        x = RNG.multivariate_normal(np.zeros(C), COVARIANCE)
        verdicts.append(judge(clean, lambda hidden, x=x: (_image(x, hidden), _looser(hidden)), x))  # type: ignore[misc]
    assert sum(not v.clean for v in verdicts) <= 20  # five in a hundred by residuals, five by distance
    assert sum(bool(v.suspects) for v in verdicts) <= 12


def test_where_all_bands_are_off_the_image_is_unlike_and_no_band_is_named(clean: Clean) -> None:
    x = RNG.normal(0, 3, C)
    found = judge(clean, lambda hidden: (_image(x, hidden), _looser(hidden)), x)
    assert found.unlike
    assert found.suspects == ()


def test_far_medians_alone_make_an_image_unlike(clean: Clean) -> None:
    x = 20 * MIX[:, 0]  # along what bands share: no residual, and still far
    found = judge(clean, lambda hidden: (_image(x, hidden), _looser(hidden)), x)
    assert found.scores.max() < 1
    assert found.unlike


def test_of_clean_blocks_one_in_a_hundred_is_suspect_by_any_figure() -> None:
    """By each of four figures one in a hundred is; by the worst of them it would be three or four."""
    blocks = [RNG.standard_t(4, (C, len(KINDS), 12, 12)) for _ in range(40)]
    told, medians = [of_image(b) for b in blocks], RNG.normal(size=(N, C))
    clean = Clean.of(told, blocks, learned=medians, medians=medians)
    fresh = np.concatenate([clean.block_scores(RNG.standard_t(4, (C, len(KINDS), 12, 12))).ravel() for _ in range(40)])
    assert np.mean(fresh > 1) == pytest.approx(0.01, abs=0.003)


def test_a_standard_is_kept_as_plain_data(clean: Clean) -> None:
    import json

    again = Clean.from_json(json.loads(json.dumps(clean.to_json())))
    figures = _image(RNG.normal(size=C))
    np.testing.assert_allclose(again.scores(figures), clean.scores(figures), rtol=1e-4)
    assert again.distance(np.ones(C)) == pytest.approx(clean.distance(np.ones(C)), rel=1e-4)


def test_what_all_bands_share_accuses_none_and_what_one_has_alone_does() -> None:
    images = [RNG.normal(0, 0.05, (C, len(KINDS))) for _ in range(N)]
    spread = Spread.of(images, [f[:, :, None, None] for f in images])
    for kind in ("rough", "lines"):
        k = KINDS.index(kind)
        land, band = np.zeros((C, len(KINDS))), np.zeros((C, len(KINDS)))
        land[:, k] = 2.0
        band[3, k] = 2.0
        assert spread.image(land)[:, k].max() < 1
        assert spread.image(band)[3, k] > 10
        assert np.delete(spread.image(band)[:, k], 3).max() < 1
        assert spread.block(band[:, :, None, None])[3, k, 0, 0] > 10


def test_of_an_image_with_nothing_seen_nothing_is_said() -> None:
    blocks = np.full((2, len(KINDS), 3, 3), np.nan)
    blocks[0] = 0.0
    told = of_image(blocks)
    assert np.isnan(told[1]).all()
    spread = Spread.of([told], [blocks])
    assert (spread.image(told)[1] == 0).all()
    assert np.isnan(spread.block(blocks)[1]).all()
