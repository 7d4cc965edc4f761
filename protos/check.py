"""Checks the definitions: they pass the linter, break no caller of the last release, and the stubs are theirs.

``make check`` runs it. A difference between the stubs and a fresh generation is mended by ``make protos``.
"""

import filecmp
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from generate import PROTOS, write_image, write_stubs

ROOT = PROTOS.parent
PACKAGES = ("v1", "standard_protos/generated")


def main() -> int:
    """The exit status: 0 where all is in order."""
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "now.binpb"
        write_image(PROTOS, image)
        results = [_buf("lint", image), _breaking(image, Path(scratch)), _stale_stubs(Path(scratch) / "bascule")]
    return max(results)


def _buf(command: str, image: Path, *arguments: str) -> int:
    return subprocess.run(
        ["buf", command, str(image), "--config", str(ROOT / "buf.yaml"), *arguments], check=False
    ).returncode


def _breaking(image: Path, scratch: Path) -> int:
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*")
    archive = _git("archive", tag.decode().strip(), "protos") if tag else b""
    if not archive:
        return 0  # Nothing was released yet.
    with tarfile.open(fileobj=io.BytesIO(archive)) as released:
        released.extractall(scratch / "released", filter="data")
    write_image(scratch / "released" / "protos", scratch / "released.binpb")
    return _buf("breaking", image, "--against", str(scratch / "released.binpb"))


def _git(*arguments: str) -> bytes:
    """What git prints, or nothing where it fails: outside of a checkout, or where there is no tag."""
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False).stdout


def _stale_stubs(fresh: Path) -> int:
    write_stubs(fresh)
    stale = [path for package in PACKAGES for path in _differing(fresh / package, ROOT / "client/bascule" / package)]
    for path in stale:
        print(f"{path}: not what the definitions generate; run `make protos` and commit it")
    return 1 if stale else 0


def _differing(fresh: Path, committed: Path) -> list[Path]:
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.py*")}
    _, different, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return [committed / name for name in (*different, *missing)]


if __name__ == "__main__":
    sys.exit(main())
