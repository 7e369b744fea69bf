"""The shipped weights of the organisms, and their checksums."""

import hashlib
import shutil
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
SUMS = "SHA256SUMS"  # in the format of `sha256sum`


def checksums(name: str) -> dict[str, str]:
    """The SHA-256 of each file of a shipped organism."""
    lines = (FOLDER / name / SUMS).read_text().splitlines()
    return {file: digest for digest, file in (line.split(maxsplit=1) for line in lines)}


@cache
def verify(name: str) -> None:
    """Raise ValueError where a file of a shipped organism is missing or has another checksum."""
    for file, expected in checksums(name).items():
        path = FOLDER / name / file
        if not path.is_file():
            raise ValueError(f"organism {name}: {path} is missing; install offmodel again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(
                f"organism {name}: the checksum of {path} differs from the shipped one; install offmodel again, or set "
                f"rebuild: true to pretrain the organism again"
            )


def unpack(name: str, folder: Path) -> None:
    """Verify an organism's checkpoint and copy it into `folder`."""
    verify(name)
    for file in checksums(name):
        shutil.copyfile(FOLDER / name / file, folder / file)


def replace(name: str, folder: Path) -> None:
    """Replace the shipped checkpoint by the one in `folder`, and write its checksums."""
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    (FOLDER / name).mkdir(parents=True)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        shutil.copyfile(path, FOLDER / name / path.name)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (FOLDER / name / SUMS).write_text("".join(lines))
