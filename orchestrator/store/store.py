"""The artifact store: the records and files of finished stages, under any fsspec URI.

    <root>/<kind>/<name>-<hash>/record.json      written last and only once: a stage with a record is finished
    <root>/<kind>/<name>-<hash>/<attempt>/...    the files of one attempt; the record names the attempt that counts
    <root>/<kind>/<name>-<hash>/lease-<n>        the process that runs the stage (leases.py)
    <root>/<kind>/<name>-<hash>/partial/...      partial results of unfinished attempts (partial.py)
    <root>/<kind>/<name>-<hash>/state-<n>-<k>/.. states from which a training resumes; the last one counts (partial.py)
    <root>/<kind>/<name>-<hash>/temporary-<n>/.. weights with which engines generate during a training (temporary.py)
    <root>/<kind>/<name>-<hash>/failure.txt      why the last attempt failed, for reports
    <root>/tracking/...                          the store's id in MLflow, and leases of what is being logged

Everything but the record and its attempt is removed when the stage is finished. Two attempts never share a folder, so a
worker that was wrongly taken for dead cannot damage its successor's files.
"""

import hashlib
import json
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.store.cache import cached
from orchestrator.store.files import Files, StoreError, sync
from orchestrator.store.stage import Stage
from orchestrator.study.load import without_secrets
from trainers.scratch import new_scratch_folder

RECORD, COMPLETE, FAILURE = "record.json", "complete", "failure.txt"
LEASES = ("lease-", "queue-")  # beginnings of names; whoever holds one removes it
READERS = 16  # threads that read records of a remote store
log = logging.getLogger(__name__)


class Store(Files):
    """An artifact store at a URI (`runs`, `s3://bucket/runs`, ...)."""

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
        """The record at an address, without a check of the stage's fingerprint; None if there is none.

        A damaged record is set aside, so that the stage runs again. Raises StoreError for a record that names files
        outside its stage's folder.
        """
        path = f"{address}/{RECORD}"
        data = self.read(path)
        if data is None:
            return None
        try:
            record = json.loads(data)
        except ValueError:  # also where it is not UTF-8
            self.set_aside(path, f"is damaged ({len(data)} bytes that are not JSON)")
            return None
        for name in (record["attempt"], *record["files"]):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise StoreError(f"{self.uri}/{path} names {name!r}, outside its folder: do not use this store")
        return record

    def records_of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """All records of one kind, by address."""
        addresses = (f"{kind}/{name}" for name in self.names(kind))
        return {address: record for address in addresses if (record := self.read_record(address)) is not None}

    def write_failure(self, stage: Stage, reason: str) -> None:
        """Keep the reason for which the last attempt failed. A store that cannot be written does not hide it."""
        try:
            self.overwrite(f"{stage.address}/{FAILURE}", reason.replace(self.uri, without_secrets(self.uri)).encode())
        except Exception as error:  # noqa: BLE001  # Each kind of store has its own errors.
            log.warning("%s/%s: reports will not say why it failed (%s): %s", self.uri, stage.address, error, reason)

    def failure(self, address: str) -> str | None:
        """The reason for which the last attempt failed; None where none has failed, or the stage is finished."""
        reason = self.read(f"{address}/{FAILURE}")
        return None if reason is None else reason.decode(errors="replace")

    def new_folder(self, stage: Stage, attempt: str) -> Path:
        """An empty local folder for an attempt's files; with a remote store they are uploaded by `publish`."""
        if self.is_local:
            folder = Path(self.root, stage.address, attempt)
            folder.mkdir(parents=True)
            return folder
        return new_scratch_folder()

    def publish(self, stage: Stage, folder: Path, attempt: str, record: dict[str, Any]) -> bool:
        """Make an attempt the stage's result. False if another attempt was first, whose record then counts.

        Raises only where no record names this attempt; the caller may then remove the files.
        """
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        record = {
            "fingerprint": stage.fingerprint,
            "identity": stage.identity,
            "inputs": {role: needed.address for role, needed in stage.inputs.items()},
            "attempt": attempt,
            "files": {
                path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
                for path in files
            },
            "host": socket.gethostname(),
            **record,
        }
        for path in files:
            if self.is_local:
                sync(path)
            else:
                self.upload(path, f"{stage.address}/{attempt}/{path.relative_to(folder).as_posix()}")
        if self.is_local:
            sync(folder)
        try:
            self.create(f"{stage.address}/{RECORD}", json.dumps(record, indent=1).encode(), durable=True)
        except Exception as error:
            # The record may have arrived although the answer did not.
            present = self.read_record(stage.address)
            if present is None or present["attempt"] != attempt:
                if isinstance(error, FileExistsError):
                    self._remove(stage, lambda name: name == attempt)
                    return False
                raise
        self._remove(stage, lambda name: name not in (RECORD, attempt) and not name.startswith(LEASES))
        return True

    def _remove(self, stage: Stage, unfinished: Callable[[str], bool]) -> None:
        """Remove what unfinished attempts left, by name. What cannot be removed stays: the stage is finished."""
        try:
            for name in filter(unfinished, self.names(stage.address)):
                self.remove_folder(f"{stage.address}/{name}")
        except Exception as error:  # noqa: BLE001  # such as that of another user's folder
            log.warning("%s/%s: files stay (%s): run offmodel clean", self.uri, stage.address, error)

    def folder(self, address: str, record: dict[str, Any]) -> Path:
        """A local folder with a finished stage's files. A remote store's are downloaded once per machine (cache.py).

        Raises StoreError for a file whose checksum is not that of the record.
        """
        if self.is_local:
            return Path(self.root, address, record["attempt"])
        path = f"{hashlib.sha256(self.uri.encode()).hexdigest()[:10]}/{address}/{record['attempt']}"
        size = sum(file["bytes"] for file in record["files"].values())
        return cached(path, size, lambda into: self._fetch(address, record, into))

    def _fetch(self, address: str, record: dict[str, Any], into: Path) -> None:
        for name, expected in record["files"].items():
            self.download(f"{address}/{record['attempt']}/{name}", into / name)
            if sha256_file(into / name) != expected["sha256"]:
                raise StoreError(f"{self.uri}/{address}: the download of {name} has a wrong checksum; run again")

    def damaged_files(self, address: str, record: dict[str, Any]) -> Iterator[Path]:
        """The files of a finished stage that are missing, or have not the checksums of its record."""
        folder = self.folder(address, record)
        for name, written in record["files"].items():
            if not (folder / name).is_file() or sha256_file(folder / name) != written["sha256"]:
                yield folder / name

    def put_folder(self, folder: Path, path: str, durable: bool = False) -> None:
        """Copy a local folder of files to a path in the store; a list of them that is written last completes it."""
        files = sorted(folder.iterdir())
        for file in files:
            self.upload(file, f"{path}/{file.name}", durable)
        sizes = {file.name: file.stat().st_size for file in files}
        self.create(f"{path}/{COMPLETE}", json.dumps(sizes).encode(), durable)

    def is_complete(self, path: str) -> bool:
        """Whether a folder is as `put_folder` left it. One that a power cut damaged is not."""
        data = self.read(f"{path}/{COMPLETE}")
        try:
            sizes = json.loads(data or b"")
        except ValueError:
            return False
        return all(self._size(f"{path}/{name}") == size for name, size in sizes.items())

    def _size(self, path: str) -> int | None:
        try:
            return self.fs.size(self._at(path))
        except FileNotFoundError:
            return None

    def get_folder(self, path: str, into: Path) -> Path:
        """A local folder with the files at a path in the store; a remote store's are copied to `into`."""
        if self.is_local:
            return Path(self.root, path)
        into.mkdir(parents=True, exist_ok=True)
        for name in self.names(path):
            self.download(f"{path}/{name}", into / name)
        return into


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
