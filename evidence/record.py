"""A resumable record of a long claim: each finished part is kept, so that a second start goes on where it stopped."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
SHARED = Path(os.environ.get("LANDWEAVE_SHARED", ROOT.parent / "shared")).resolve()
SCRATCH = ROOT / "build" / "evidence"


class Record:
    """`evidence/NAME.json`: part -> {command, commit, seconds, figures}.

    Words after the module's name are the parts to run (`python -m evidence.robust rgb patches`), all by default. So two
    processes can run different parts at once: each reads the file again before it adds its own.
    """

    def __init__(self, name: str, wanted: Sequence[str] | None = None) -> None:
        self.path = HERE / f"{name}.json"
        self.scratch = SCRATCH / name
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.wanted = tuple(sys.argv[1:] if wanted is None else wanted)

    @property
    def content(self) -> dict[str, Any]:
        """What is recorded so far, by whatever process."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def part(
        self, name: str, command: str, run: Callable[[], dict[str, Any]], *, seeds: list[int] | None = None
    ) -> None:
        """Run a part unless it stands in the record already (delete its key to run it anew)."""
        if self.wanted and not any(f"{name}/".startswith(f"{w}/") for w in self.wanted):
            return
        if name in self.content:
            print(f"{name}: recorded already")
            return
        print(f"{name}: {command}", flush=True)
        start = time.perf_counter()
        figures = plain(run())
        mine = {
            "command": command,
            "commit": _commit(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            **({"seeds": seeds} if seeds is not None else {}),
            "seconds": round(time.perf_counter() - start, 1),
            "figures": figures,
        }
        with held(self.scratch / "record"):  # another process may add its own part just now
            part = self.path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({**self.content, name: mine}, indent=1, ensure_ascii=False) + "\n")
            part.replace(self.path)
        print(json.dumps(figures, indent=1), flush=True)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """One process at a time works on `path`; a second one waits. The lock goes with its process, however it ends."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def plain(figures: Any) -> Any:
    """Figures without a path of this machine: below the repository, or below `../shared`."""
    text = json.dumps(figures, ensure_ascii=False)
    return json.loads(text.replace(str(SHARED), "../shared").replace(f"{ROOT}{os.sep}", ""))


def _commit() -> str:
    out = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    dirty = subprocess.run(
        ["git", "-C", ROOT, "status", "--porcelain", "src"], capture_output=True, text=True, check=False
    )
    return out.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def landweave(*words: str | Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of landweave as a user would, from the repository's root; `env` adds to the environment."""
    command = [sys.executable, "-m", "landweave", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env={**os.environ, **env})
    if check and done.returncode:
        raise SystemExit(
            f"{' '.join(command[2:])}\nexit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return done


def shared(path: Path) -> str:
    """A path below the shared folder, as it is written in a record."""
    return str(Path("../shared") / path.relative_to(SHARED))
