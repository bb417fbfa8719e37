"""The LMDB + safetensors form that rico-hdl writes: one database, a patch name -> `{band: H W array}`.

The format is `kai-tub/rico-hdl`'s, read by the BigEarthNet community's own tools too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.errors import DataError, MissingDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_opened: dict[str, tuple[int, Any]] = {}
"""One environment a file and process: LMDB refuses a second, and one that crossed a fork must be opened anew."""


class Database:
    """A read-only database, opened when first asked, again in every process that a fork or spawn makes.

    It is opened without a lock, so it must not be written to meanwhile, and without read-ahead: places are read in
    random order, and a page that nobody asked for only drives others out of memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def _environment(self) -> Any:
        import lmdb

        key = os.path.realpath(self.folder)
        pid, environment = _opened.get(key, (0, None))
        if pid == os.getpid():
            return environment
        if environment is not None:
            environment.close()  # this process's copy only: the parent's mapping and descriptors stay
        try:
            environment = lmdb.open(key, readonly=True, lock=False, readahead=False, meminit=False, max_readers=1)
        except lmdb.Error as error:
            raise DataError(f"not an LMDB database ({error})", where=self.folder, fix="run rico-hdl again") from error
        _opened[key] = (os.getpid(), environment)
        return environment

    def close(self) -> None:
        """Close this process's environment; the next read opens it again."""
        _, environment = _opened.pop(os.path.realpath(self.folder), (0, None))
        if environment is not None:
            environment.close()

    def keys(self) -> set[str]:
        """All names; the values are not touched (0.4 s for a million)."""
        with self._environment().begin() as transaction, transaction.cursor() as cursor:
            return {key.decode() for key in cursor.iternext(keys=True, values=False)}

    def bands(self, name: str) -> dict[str, NDArray[np.generic]]:
        """The arrays of one name, in the dtype they had as rasters.

        Raises:
            MissingDataError: no such name.
            DataError: the value is not a safetensors dictionary.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        with self._environment().begin() as transaction:
            value = transaction.get(name.encode())
        if value is None:
            raise MissingDataError(f"no patch `{name}`", where=self.folder, fix="run rico-hdl on all folders")
        try:
            return load(value)
        except (SafetensorError, ValueError) as error:
            raise DataError(
                f"patch `{name}` is damaged ({error})", where=self.folder, fix="run rico-hdl again"
            ) from error
