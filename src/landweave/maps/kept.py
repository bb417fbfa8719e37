"""Finished rows of a map in the making, kept beside it so that a killed map goes on where it stopped."""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.errors import DataError
from landweave.files import write_bytes, write_text

DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a file that is not whole may raise; `NotImplementedError` is a `RuntimeError`."""


@dataclass(frozen=True)
class Kept:
    """Blocks of rows in a hidden folder, a file each, written whole or not at all.

    `mark` tells everything that decides the map: weights, images, windows. Rows under another mark are thrown away.
    """

    folder: Path
    mark: str

    def open(self) -> bool:
        """Keep the rows of an earlier start of the same map, and no others; gives whether others were thrown away.

        Raises:
            DataError: they cannot be removed.
        """
        note, others = self.folder / "mark", False
        if not note.is_file() or note.read_text(encoding="utf-8") != self.mark:
            others = not self.empty
            self.clear()
            if not self.empty:
                raise DataError("rows of another map cannot be removed", where=self.folder, fix="remove the folder")
            write_text(note, self.mark)
        return others

    def add(self, column: int, row: int, block: NDArray[Any]) -> None:
        """Keep bands x rows x columns that begin at a row of the lane that begins at a column."""
        packed = io.BytesIO()
        np.savez_compressed(packed, block=block)
        write_bytes(self._file(column, row), packed.getvalue())

    def blocks(self, column: int, bands: int, width: int) -> Iterator[NDArray[Any]]:
        """What is there of a lane from its top on, without a gap; a damaged file ends it."""
        row = 0
        while (file := self._file(column, row)).is_file():
            try:
                with np.load(file) as packed:
                    block = packed["block"]
            except DAMAGED:
                return
            if block.ndim != 3 or (block.shape[0], block.shape[2]) != (bands, width) or not block.shape[1]:
                return
            yield block
            row += block.shape[1]

    def clear(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def empty(self) -> bool:
        """Whether no row is kept."""
        return not any(self.folder.glob("*.npz"))

    def _file(self, column: int, row: int) -> Path:
        return self.folder / f"{column}-{row}.npz"
