"""Shared fixtures: one torch thread a process, and the genuine files beside the project."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # two threads on two shared cores can be 8 times slower than one

from pathlib import Path

import pytest

SHARED = Path(os.environ.get("LANDWEAVE_SHARED", Path(__file__).parents[2] / "shared")).resolve()
VECTORS = SHARED / "vectors"


def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of genuine imagery, or a skip with the reason where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent (set LANDWEAVE_SHARED)")
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    """Where the shared folder exists, a skipped test is a failure: images, vectors and tables are all there."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and SHARED.is_dir():
        report.outcome = "failed"
        report.longrepr = f"skipped although {SHARED} exists: {report.longrepr}"
