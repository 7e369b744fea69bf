"""The files of a store, under any fsspec URI, by their paths below its root.

A file is written whole or not at all, and of many processes that `create` a file one succeeds. Errors that may pass,
such as a lost connection or a full disk, are retried with growing waits for RETRY_SECONDS, which a warning reports.
"""

import contextlib
import errno
import inspect
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

RETRY_SECONDS, FIRST_WAIT, LONGEST_WAIT = 300.0, 0.2, 30.0
PASSING = {
    getattr(errno, name)
    for name in (
        *("EIO", "EREMOTEIO", "EAGAIN", "EBUSY", "EINTR", "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED"),
        *("EPIPE", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ESTALE", "ENOLCK", "ENOSPC", "EDQUOT"),
    )
    if hasattr(errno, name)
}
CLIENTS = {"botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "requests", "urllib3"}
DAMAGED = ".damaged"  # the end of the name of a file that was set aside
EXISTS = (409, 412)  # of a conditional write, in HTTP
sleep = time.sleep  # replaced by tests
log = logging.getLogger(__name__)
T = TypeVar("T")


class StoreError(ValueError):
    """A store that cannot be used; the message says why."""


class Files:
    """The files below a URI (`runs`, `s3://bucket/runs`, ...)."""

    def __init__(self, uri: str):
        self.uri = uri
        try:
            self.fs, root = fsspec.url_to_fs(uri, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(f"store {uri!r}: {error}") from error
        self.root = root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self._device: int | None = None  # of a local root, once this process has seen it

    def check_writable(self) -> None:
        """Raise StoreError unless files can be created here, and each of them once."""
        advice = "choose another store with store=URI"
        if not self.is_local and not _creates_once(self.fs):
            raise StoreError(
                f"store {self.uri!r}: {type(self.fs).__name__} cannot create a file for one of several processes, so "
                f"two of them could run the same stage; {advice}"
            )
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.create(probe, b"first")
            with contextlib.suppress(FileExistsError):
                self.create(probe, b"second")
                raise StoreError(
                    f"store {self.uri!r} let a file be created twice, so two processes could run the same stage: its "
                    f"server ignores If-None-Match; {advice}"
                )
            self.remove(probe)
        except StoreError:
            raise
        except Exception as error:  # Each kind of store has its own errors.
            raise StoreError(
                f"store {self.uri!r} cannot be written: {error}; {advice} or correct its permissions"
            ) from error

    def read(self, path: str) -> bytes | None:
        """The content of a file, or None if it does not exist."""
        return retried(lambda: self._found(lambda: self.fs.cat_file(self._at(path))), path)

    def names(self, path: str) -> list[str]:
        """The sorted names of the files and folders in a folder; none if it does not exist."""
        found = retried(lambda: self._found(lambda: self.fs.ls(self._at(path), detail=False)), path) or []
        # A file on its way into a local folder is hidden.
        return sorted(name for one in found if not (name := one.rstrip("/").rsplit("/", 1)[-1]).startswith("."))

    def create(self, path: str, data: bytes, durable: bool = False) -> None:
        """Write a new file. Raises FileExistsError if there is one with other content.

        A file with this content is this one: the answer to an earlier try was lost. So `data` must be unique where
        several processes create the same path. `durable`: the file survives a power cut once this returns.
        """
        try:
            retried(lambda: self._create(self._at(path), data, durable), path)
        except FileExistsError:
            if self.read(path) != data:
                raise

    def _create(self, path: str, data: bytes, durable: bool) -> None:
        if self.is_local:
            with self._beside(path, data, durable) as written:
                os.link(written, path)
            return
        try:
            self.fs.pipe_file(path, data, mode="create")
        except Exception as error:
            if _status(error) in EXISTS and self.fs.exists(path):
                raise FileExistsError(path) from error
            raise

    def overwrite(self, path: str, data: bytes) -> None:
        """Write a file, in place of one that exists."""
        retried(lambda: self._overwrite(self._at(path), data), path)

    def _overwrite(self, path: str, data: bytes) -> None:
        if not self.is_local:
            self.fs.pipe_file(path, data)
            return
        with self._beside(path, data, durable=False) as written:
            os.replace(written, path)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            retried(lambda: self.fs.rm_file(self._at(path)), path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder with its content, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            retried(lambda: self.fs.rm(self._at(path), recursive=True), path)

    def set_aside(self, path: str, reason: str) -> None:
        """Rename a damaged file, so that nothing reads it, and say so."""
        log.warning("%s/%s %s; it is set aside as %s%s", self.uri, path, reason, path, DAMAGED)
        try:
            self.fs.mv(self._at(path), self._at(path + DAMAGED))
        except Exception as error:  # noqa: BLE001  # A reader may lack the right.
            log.warning("%s/%s cannot be renamed: %s", self.uri, path, error)

    def upload(self, file: Path, path: str, durable: bool = False) -> None:
        """Copy a local file into the store."""
        at = self._at(path)
        if not self.is_local:
            retried(lambda: self.fs.put_file(str(file), at), path)
            return
        self._make_folder(os.path.dirname(at))
        shutil.copyfile(file, at)
        if durable:
            sync(Path(at))

    def download(self, path: str, file: Path) -> None:
        """Copy a file of the store to a local path."""
        file.parent.mkdir(parents=True, exist_ok=True)
        retried(lambda: self.fs.get_file(self._at(path), str(file)), path)

    def _at(self, path: str) -> str:
        assert ".." not in path.split("/"), f"{path} leaves the store"
        return f"{self.root}/{path}".rstrip("/")

    def _found(self, act: Callable[[], T]) -> T | None:
        """The result of `act`, or None where it finds no file although the store is there."""
        try:
            found = act()
        except (FileNotFoundError, NotADirectoryError):
            self._check_mounted()
            return None
        if self.is_local and self._device is None:
            self._device = os.stat(self.root).st_dev
        return found

    def _check_mounted(self) -> None:
        """Raise an error that may pass if a local store that was seen is gone, as after an unmount."""
        if self._device is not None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if os.stat(f"{self.root}/.").st_dev == self._device:
                    return
            raise OSError(errno.ESTALE, "the store's folder is gone; is it still mounted?", self.root)

    def _make_folder(self, folder: str) -> None:
        """Make a local folder, but not the store's own a second time."""
        self._check_mounted()
        os.makedirs(folder, exist_ok=True)
        if self._device is None:
            self._device = os.stat(self.root).st_dev

    @contextlib.contextmanager
    def _beside(self, path: str, data: bytes, durable: bool):
        """A new hidden file with this content in the folder of `path`."""
        folder = os.path.dirname(path)
        self._make_folder(folder)
        beside = os.path.join(folder, f".{uuid.uuid4().hex}")
        try:
            with open(beside, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            yield beside
            if durable:
                sync(Path(folder))
        finally:
            with contextlib.suppress(OSError):
                os.unlink(beside)


def retried(act: Callable[[], T], what: str) -> T:
    """The result of `act`, which is tried again after errors that may pass. Raises its last error."""
    waited, wait = 0.0, FIRST_WAIT
    while True:
        try:
            return act()
        except Exception as error:
            if not may_pass(error) or waited >= RETRY_SECONDS:
                raise
            log.warning("%s: %s; the next try is in %.1f s", what, error, wait)
        sleep(wait)
        waited, wait = waited + wait, min(2 * wait, LONGEST_WAIT)


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError | TimeoutError) or error.errno in PASSING
    return type(error).__module__.partition(".")[0] in CLIENTS


def sync(path: Path) -> None:
    """Make a local file's content, or a folder's entries, survive a power cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _creates_once(fs: AbstractFileSystem) -> bool:
    """Whether a file system has a create of its own: fsspec's own one looks first and writes then."""
    method = getattr(type(fs), "_pipe_file", None) or type(fs).pipe_file
    if method in (AbstractFileSystem.pipe_file, AsyncFileSystem._pipe_file):
        return False
    return "mode" in inspect.signature(method).parameters


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of an error of a storage client, or of its cause."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for name in ("status_code", "status", "code"):
            if isinstance(status := getattr(error, name, None), int):
                return status
        error = error.__cause__
    return None
