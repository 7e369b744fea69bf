"""The organisms' weights as they are shipped, with their checksums."""

import hashlib
import shutil
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
SUMS = "SHA256SUMS"  # as `sha256sum` writes and checks it


def names() -> list[str]:
    """The organisms that are shipped."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{SUMS}"))


def checksums(name: str) -> dict[str, str]:
    """SHA-256 by file name, as shipped. Raises ValueError for an organism that is not."""
    if name not in names():
        raise ValueError(f'there is no organism "{name}"; there are {", ".join(names())}')
    lines = (FOLDER / name / SUMS).read_text().splitlines()
    return {file: digest for digest, file in (line.split(maxsplit=1) for line in lines)}


@cache
def verify(name: str) -> None:
    """Raise ValueError where a file of an organism is missing or is not what was shipped."""
    for file, expected in checksums(name).items():
        path = FOLDER / name / file
        if not path.is_file():
            raise ValueError(f"organism {name}: {path} is missing; install offmodel again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(
                f"organism {name}: the checksum of {path} is not the shipped one, so the file was changed or damaged; "
                f"install offmodel again, or set rebuild: true to train the organism anew"
            )


def unpack(name: str, folder: Path) -> None:
    """Copy an organism's checkpoint, verified, into `folder`."""
    verify(name)
    for file in checksums(name):
        shutil.copyfile(FOLDER / name / file, folder / file)


def replace(name: str, folder: Path) -> None:
    """Put the checkpoint in `folder` in the place of the shipped one, with its checksums."""
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    (FOLDER / name).mkdir(parents=True)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        shutil.copyfile(path, FOLDER / name / path.name)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (FOLDER / name / SUMS).write_text("".join(lines))
