"""The artifact store: the records and files of finished stages, under any fsspec URI.

    <root>/<kind>/<name>-<hash>/record.json      written last and only once: a stage with a record is finished
    <root>/<kind>/<name>-<hash>/<attempt>/...    the files of one attempt; the record names the attempt that counts
    <root>/<kind>/<name>-<hash>/lease-<n>        the process that runs the stage (leases.py)
    <root>/<kind>/<name>-<hash>/partial/...      partial results of unfinished attempts (partial.py)
    <root>/<kind>/<name>-<hash>/state-<time>/... states from which a training resumes; the last one counts (partial.py)
    <root>/<kind>/<name>-<hash>/temporary-<n>/.. weights with which engines generate during a training (temporary.py)

Everything but the record and its attempt is removed when the stage is finished. Two attempts never share a folder, so a
worker that was wrongly taken for dead cannot damage its successor's files.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from orchestrator.store.stage import Stage

RECORD, COMPLETE = "record.json", "complete"
READERS = 16  # threads that read records of a remote store


class StoreError(ValueError):
    """A store that cannot be used; the message says why."""


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
                f"store {self.uri!r} cannot be written: {error}; "
                f"choose another with store=URI or correct its permissions"
            ) from error

    def record(self, stage: Stage) -> dict[str, Any] | None:
        """The record of a finished stage, or None. Raises StoreError when it belongs to another stage."""
        record = self.read_record(stage.address)
        if record is not None and record["fingerprint"] != stage.fingerprint:
            raise StoreError(f"{self.uri}/{stage.address} holds another stage with the same short hash: move it away")
        return record

    def records(self, stages: Iterable[Stage]) -> dict[Stage, dict[str, Any]]:
        """The records of the finished ones among these stages."""
        stages = list(stages)
        if self.is_local:  # Reading a local file is cheaper than a thread.
            found = [self.record(stage) for stage in stages]
        else:
            with ThreadPoolExecutor(READERS) as readers:
                found = list(readers.map(self.record, stages))
        return {stage: record for stage, record in zip(stages, found, strict=True) if record is not None}

    def read_record(self, address: str) -> dict[str, Any] | None:
        """The record at an address, without a check of the stage's fingerprint; None if there is none."""
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
        """Make an attempt the stage's result. False if another attempt was first, whose record then counts."""
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

    def folder(self, address: str, record: dict[str, Any]) -> Path:
        """A local folder with a finished stage's files. Those of a remote store are downloaded once per machine.

        Raises StoreError for a file whose checksum is not that of the record.
        """
        if self.is_local:
            return Path(self.root, address, record["attempt"])
        cache = Path(
            os.environ.get("OFFMODEL_CACHE", Path.home() / ".cache" / "offmodel"),
            hashlib.sha256(self.uri.encode()).hexdigest()[:10],
            address,
            record["attempt"],
        )
        if not cache.exists():
            download = cache.with_name(f"{cache.name}.{uuid.uuid4().hex}")
            for name, expected in record["files"].items():
                (download / name).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self.root}/{address}/{record['attempt']}/{name}", str(download / name))
                if sha256_file(download / name) != expected["sha256"]:
                    raise StoreError(f"{self.uri}/{address}: the download of {name} has a wrong checksum; run again")
            download.mkdir(parents=True, exist_ok=True)
            try:
                download.rename(cache)
            except OSError:  # Another process of this machine was first.
                assert cache.exists()
        return cache

    def put_folder(self, folder: Path, path: str) -> None:
        """Copy a local folder of files to a path in the store; a marker that is written last makes it complete."""
        for file in sorted(folder.iterdir()):
            if self.is_local:
                os.makedirs(path, exist_ok=True)
                shutil.copyfile(file, f"{path}/{file.name}")
            else:
                self.fs.put_file(str(file), f"{path}/{file.name}")
        self.create(f"{path}/{COMPLETE}", b"")

    def get_folder(self, path: str, into: Path) -> Path:
        """A local folder with the files at a path in the store; a remote store's are copied to `into`."""
        if self.is_local:
            return Path(path)
        into.mkdir(parents=True, exist_ok=True)
        for file in self.fs.ls(path, detail=False, refresh=True):
            self.fs.get_file(file, str(into / file.rsplit("/", 1)[-1]))
        return into

    def read(self, path: str) -> bytes | None:
        """The content of a file, or None if it does not exist."""
        try:
            return self.fs.cat_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, path: str, data: bytes) -> None:
        """Write a new file atomically. Raises FileExistsError if it exists."""
        if not self.is_local:
            self.fs.pipe_file(path, data, mode="create")
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        written = _write_beside(path, data)
        try:
            os.link(written, path)
        finally:
            os.unlink(written)

    def overwrite(self, path: str, data: bytes) -> None:
        """Write a file atomically, in place of one that exists."""
        if not self.is_local:
            self.fs.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(_write_beside(path, data), path)


def _write_beside(path: str, data: bytes) -> str:
    """The path of a new hidden file with this content in the folder of `path`."""
    beside = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}")
    with open(beside, "wb") as file:
        file.write(data)
    return beside


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
