"""The files of a store: created once, written whole, and reached again after errors that may pass."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import boto3
import fsspec
import pytest
from botocore.exceptions import ClientError
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem
from moto.server import ThreadedMotoServer
from s3fs.errors import translate_boto_error

from orchestrator.store import files
from orchestrator.store.files import RETRY_SECONDS, Files, StoreError


@pytest.fixture
def waits(monkeypatch):
    """The seconds that would have been waited."""
    seconds: list[float] = []
    monkeypatch.setattr(files, "sleep", seconds.append)
    return seconds


def failing(times: int, error: Exception):
    """A method that raises an error for some calls and then calls the original."""
    left = [times]

    def wrap(original):
        def call(*arguments, **options):
            if left[0]:
                left[0] -= 1
                raise error
            return original(*arguments, **options)

        return call

    return wrap


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "input/output"), TimeoutError("late"), OSError(errno.ENOSPC, "full")]
)
@pytest.mark.parametrize("method", ["cat_file", "ls"])
def test_reads_are_retried_after_an_error_that_may_pass(store, waits, monkeypatch, method, error):
    store.create("kind/stage/file", b"content")
    monkeypatch.setattr(store.fs, method, failing(3, error)(getattr(store.fs, method)))
    assert (store.read("kind/stage/file"), store.names("kind/stage")) == (b"content", ["file"])
    assert len(waits) == 3
    assert waits == sorted(waits)


def test_an_error_that_lasts_is_raised_in_the_end(store, waits, monkeypatch):
    monkeypatch.setattr(store.fs, "ls", failing(10**6, OSError(errno.EIO, "broken disk"))(store.fs.ls))
    with pytest.raises(OSError, match="broken disk"):
        store.names("kind")
    assert sum(waits) >= RETRY_SECONDS


@pytest.mark.parametrize("error", [PermissionError("denied"), OSError(errno.EINVAL, "invalid")])
def test_an_error_that_stays_is_raised_at_once(store, waits, monkeypatch, error):
    monkeypatch.setattr(store.fs, "cat_file", failing(1, error)(store.fs.cat_file))
    with pytest.raises(type(error), match=str(error)[-6:-1]):
        store.read("kind/stage/file")
    assert waits == []


def test_a_create_whose_answer_was_lost_is_this_process_own(remote, waits, monkeypatch):
    pipe_file = remote.fs.pipe_file

    def lost(path, data, mode="overwrite"):
        pipe_file(path, data, mode=mode)
        if not waits:
            raise ConnectionResetError("the answer was lost")

    monkeypatch.setattr(remote.fs, "pipe_file", lost)
    remote.create("kind/stage/lease-1", b"mine")
    with pytest.raises(FileExistsError):
        remote.create("kind/stage/lease-1", b"another's")
    assert remote.read("kind/stage/lease-1") == b"mine"


def test_a_failed_write_leaves_no_file_behind(tmp_path, monkeypatch):
    store = Files(str(tmp_path))
    for function in ("link", "replace"):
        monkeypatch.setattr(os, function, failing(1, OSError(errno.EINVAL, "no"))(getattr(os, function)))
    for write in (store.create, store.overwrite):
        with pytest.raises(OSError, match="no"):
            write("kind/stage/file", b"content")
    assert list((tmp_path / "kind" / "stage").iterdir()) == []


def test_a_store_that_is_gone_is_not_made_anew(tmp_path, waits):
    store = Files(str(tmp_path / "runs"))
    store.create("kind/one", b"")
    (tmp_path / "runs").rename(tmp_path / "away")
    for act in (lambda: store.create("kind/two", b""), lambda: store.read("kind/one"), lambda: store.names("kind")):
        with pytest.raises(OSError, match="is it still mounted"):
            act()
    assert not (tmp_path / "runs").exists()


class LooksFirst(AbstractFileSystem):
    """A file system with fsspec's own `pipe_file`: it looks whether a file exists, and writes it then."""

    protocol = "looksfirst"


class Heedless(MemoryFileSystem):
    """A server that ignores the condition of a write."""

    protocol = "heedless"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    def pipe_file(self, path, value, mode="overwrite", **_):
        super().pipe_file(path, value)


@pytest.mark.parametrize(
    ("kind", "why"), [(LooksFirst, "cannot create a file for one of several processes"), (Heedless, "created twice")]
)
def test_a_store_without_exclusive_creation_is_refused(kind, why):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)
    with pytest.raises(StoreError, match=rf"{why}.*store=URI"):
        Files(f"{kind.protocol}://runs").check_writable()


@pytest.fixture(scope="module")
def s3():
    """The URI of a new bucket of an S3 server, and the server's address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            patched.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="studies")
        yield "s3://studies"
    server.stop()


def test_an_s3_store_creates_each_file_for_one_of_many_threads(s3):
    store, together = Files(f"{s3}/runs"), threading.Barrier(8)
    store.check_writable()

    def create(i: int) -> bool:
        together.wait()
        try:
            store.create("kind/stage/lease-1", f"{i}".encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert store.read("kind/stage/lease-1") == f"{won.index(True)}".encode()
    assert store.names("kind/stage") == ["lease-1"]
    store.remove_folder("kind")
    assert store.names("kind/stage") == []


def refusal(status: int, code: str, condition: str | None) -> Exception:
    """The error of s3fs for an answer of an S3 server to a conditional write."""
    answer = {"Code": code, "Message": code, "Condition": condition}
    return translate_boto_error(
        ClientError({"Error": answer, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")
    )


REFUSALS = [
    (412, "PreconditionFailed", "If-None-Match"),
    (412, "PreconditionFailed", None),
    (409, "ConditionalRequestConflict", None),
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_every_refusal_of_a_conditional_write_means_that_the_file_exists(s3, waits, monkeypatch, answer):
    store = Files(f"{s3}/{REFUSALS.index(answer)}")
    store.create("lease-1", b"another's")
    monkeypatch.setattr(store.fs, "pipe_file", failing(1, refusal(*answer))(store.fs.pipe_file))
    with pytest.raises(FileExistsError):
        store.create("lease-1", b"mine")
    assert waits == []


def test_a_conflict_of_two_writers_is_tried_again(s3, waits, monkeypatch):
    store, error = Files(f"{s3}/conflict"), refusal(409, "ConditionalRequestConflict", None)
    monkeypatch.setattr(store.fs, "pipe_file", failing(1, error)(store.fs.pipe_file))
    store.create("lease-1", b"mine")
    assert (store.read("lease-1"), len(waits)) == (b"mine", 1)
