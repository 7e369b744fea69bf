"""The artifact store: what every finished stage left, under any fsspec URI.

    <root>/<kind>/<name>-<hash>/record.json     written last, and only once: a stage is done when it has a record
    <root>/<kind>/<name>-<hash>/<attempt>/...   the files of one attempt; the record says which attempt counts
    <root>/<kind>/<name>-<hash>/claim-<n>       who is at work on it (see claims.py)
    <root>/<kind>/<name>-<hash>/unfinished/...  what attempts have kept for those after them; gone when one is done
    <root>/<kind>/<name>-<hash>/state-<time>/.. the same as whole folders, of which the last counts
    <root>/<kind>/<name>-<hash>/temporary-<n>/...    weights that engines answer with while they are trained

Two attempts at one stage never share a folder, so that a worker that was given up for dead and comes back cannot spoil
what its successor wrote.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from orchestrator.store.stage import Stage

RECORD, UNFINISHED, WHOLE = "record.json", "unfinished", "whole"
READERS = 16


class StoreError(ValueError):
    """The store cannot be used as the user asked."""


class Store:
    """An artifact store at a URI (`runs`, `s3://bucket/runs`, ...)."""

    def __init__(self, uri: str):
        self.uri = uri
        try:
            self.fs, root = fsspec.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise StoreError(f"store {uri!r}: {error}") from error
        self.root = root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def check_writable(self) -> None:
        """Raise StoreError unless a file can be created in the store."""
        probe = f"{self.root}/.probe-{uuid.uuid4().hex}"
        try:
            self.create(probe, b"")
            self.fs.rm_file(probe)
        except OSError as error:
            raise StoreError(
                f"store {self.uri!r} cannot be written: {error}; choose another with store=URI or mend its permissions"
            ) from error

    def record(self, stage: Stage) -> dict[str, Any] | None:
        """The record of a finished stage, or None. Raises StoreError when it belongs to another stage."""
        record = self.read_record(stage.address)
        if record is not None and record["fingerprint"] != stage.fingerprint:
            raise StoreError(f"{self.uri}/{stage.address} holds another stage with the same short hash: move it away")
        return record

    def records(self, stages: Iterable[Stage]) -> dict[Stage, dict[str, Any]]:
        """The records of those stages that are done."""
        stages = list(stages)
        if self.is_local:  # A thread costs more than the file it would read.
            found = [self.record(stage) for stage in stages]
        else:
            with ThreadPoolExecutor(READERS) as readers:
                found = list(readers.map(self.record, stages))
        return {stage: record for stage, record in zip(stages, found, strict=True) if record is not None}

    def read_record(self, address: str) -> dict[str, Any] | None:
        """The record at an address, whatever stage it is of."""
        data = self.read(f"{self.root}/{address}/{RECORD}")
        return None if data is None else json.loads(data)

    def records_of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """All records of one kind, by address."""
        found = {}
        for path in self.fs.glob(f"{self.root}/{kind}/*/{RECORD}"):
            address = f"{kind}/{path.rsplit('/', 2)[-2]}"
            record = self.read_record(address)
            if record is not None:
                found[address] = record
        return found

    def new_folder(self, stage: Stage, attempt: str) -> Path:
        """An empty local folder for an attempt's files; with a remote store they are uploaded by `publish`."""
        if self.is_local:
            folder = Path(self.root, stage.address, attempt)
            folder.mkdir(parents=True)
            return folder
        return Path(tempfile.mkdtemp(prefix="offmodel-"))

    def publish(self, stage: Stage, folder: Path, attempt: str, record: dict[str, Any]) -> bool:
        """Make an attempt the stage's result. False when another attempt was first, whose record then stands."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        record = {
            "fingerprint": stage.fingerprint,
            "identity": stage.identity,
            "inputs": {role: needed.address for role, needed in stage.inputs.items()},
            "attempt": attempt,
            "files": {
                str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
                for path in files
            },
            "host": socket.gethostname(),
            **record,
        }
        if not self.is_local:
            for path in files:
                self.fs.put_file(str(path), f"{self.root}/{stage.address}/{attempt}/{path.relative_to(folder)}")
        try:
            self.create(f"{self.root}/{stage.address}/{RECORD}", json.dumps(record, indent=1).encode())
        except FileExistsError:
            return False
        self._remove_other_attempts(stage, attempt)
        return True

    def _remove_other_attempts(self, stage: Stage, attempt: str) -> None:
        for entry in self.fs.ls(f"{self.root}/{stage.address}", detail=True):
            if entry["type"] == "directory" and entry["name"].rsplit("/", 1)[-1] != attempt:
                self.fs.rm(entry["name"], recursive=True)

    def append_partial(self, stage: Stage, data: bytes) -> None:
        """Store a piece of an unfinished attempt's partial results."""
        self.create(f"{self.root}/{stage.address}/{UNFINISHED}/{time.time_ns()}-{uuid.uuid4().hex[:8]}", data)

    def read_partial(self, stage: Stage) -> list[bytes]:
        """The pieces that earlier attempts at a stage have kept, in order."""
        folder = f"{self.root}/{stage.address}/{UNFINISHED}"
        try:
            pieces = sorted(self.fs.ls(folder, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        return [self.fs.cat_file(piece) for piece in pieces if not piece.rsplit("/", 1)[-1].startswith(".")]

    def save_state(self, stage: Stage, folder: Path) -> None:
        """Keep a folder of an unfinished attempt at a stage, in place of those that were kept before."""
        before = self._states(stage)
        place = f"{self.root}/{stage.address}/state-{time.time_ns():020}-{uuid.uuid4().hex[:8]}"
        self._put_folder(folder, place)
        for old in before:
            self.fs.rm(old, recursive=True)

    def load_state(self, stage: Stage, into: Path) -> Path | None:
        """The folder that was kept last for a stage, or None; from a remote store it is fetched into `into`."""
        states = self._states(stage)
        return self._get_folder(states[-1], into) if states else None

    def _states(self, stage: Stage) -> list[str]:
        try:
            entries = self.fs.ls(f"{self.root}/{stage.address}", detail=False, refresh=True)
        except FileNotFoundError:
            return []
        states = sorted(entry for entry in entries if entry.rsplit("/", 1)[-1].startswith("state-"))
        return [state for state in states if self.fs.exists(f"{state}/{WHOLE}")]

    def temporary_path(self, stage: Stage) -> str:
        """A place beside a stage's results for a folder that is to be lent; gone when the stage is done."""
        return f"{stage.address}/temporary-{uuid.uuid4().hex[:12]}"

    def publish_temporary(self, folder: Path, place: str) -> str:
        """Put a folder where every machine can borrow it, until `delete_temporary`; returns its place in the store."""
        self._put_folder(folder, f"{self.root}/{place}")
        return place

    def fetch_temporary(self, place: str, into: Path) -> Path:
        """A lent folder; from a remote store it is fetched into `into`."""
        return self._get_folder(f"{self.root}/{place}", into)

    def delete_temporary(self, place: str) -> None:
        self.fs.rm(f"{self.root}/{place}", recursive=True)

    def _put_folder(self, folder: Path, place: str) -> None:
        """Copy a folder of files. It is whole when it says so: this may end half-way."""
        for path in sorted(folder.iterdir()):
            if self.is_local:
                os.makedirs(place, exist_ok=True)
                shutil.copyfile(path, f"{place}/{path.name}")
            else:
                self.fs.put_file(str(path), f"{place}/{path.name}")
        self.create(f"{place}/{WHOLE}", b"")

    def _get_folder(self, place: str, into: Path) -> Path:
        if self.is_local:
            return Path(place)
        into.mkdir(parents=True, exist_ok=True)
        for path in self.fs.ls(place, detail=False, refresh=True):
            self.fs.get_file(path, str(into / path.rsplit("/", 1)[-1]))
        return into

    def folder(self, address: str, record: dict[str, Any]) -> Path:
        """A local folder with a finished stage's files; from a remote store they are fetched once for each machine."""
        if self.is_local:
            return Path(self.root, address, record["attempt"])
        cache = Path(
            os.environ.get("OFFMODEL_CACHE", Path.home() / ".cache" / "offmodel"),
            hashlib.sha256(self.uri.encode()).hexdigest()[:10],
            address,
            record["attempt"],
        )
        if not cache.exists():
            arriving = cache.with_name(f"{cache.name}.{uuid.uuid4().hex}")
            for name, expected in record["files"].items():
                (arriving / name).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self.root}/{address}/{record['attempt']}/{name}", str(arriving / name))
                if sha256_file(arriving / name) != expected["sha256"]:
                    raise StoreError(f"{self.uri}/{address}: {name} did not arrive as it was written; run again")
            arriving.mkdir(parents=True, exist_ok=True)
            try:
                arriving.rename(cache)
            except OSError:  # Another process of this machine was first.
                assert cache.exists()
        return cache

    def read(self, path: str) -> bytes | None:
        """A file's content, or None where there is none."""
        try:
            return self.fs.cat_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, path: str, data: bytes) -> None:
        """Write a file whole, or raise FileExistsError where there is one already."""
        if not self.is_local:
            self.fs.pipe_file(path, data, mode="create")
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        arriving = _written_beside(path, data)
        try:
            os.link(arriving, path)
        finally:
            os.unlink(arriving)

    def overwrite(self, path: str, data: bytes) -> None:
        """Replace a file's content in one go."""
        if not self.is_local:
            self.fs.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(_written_beside(path, data), path)


def _written_beside(path: str, data: bytes) -> str:
    """A new file with that content in the folder of `path`, by a name that no reader of the folder looks for."""
    beside = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}")
    with open(beside, "wb") as file:
        file.write(data)
    return beside


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
