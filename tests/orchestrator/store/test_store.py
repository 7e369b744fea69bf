"""The artifact store, on a local folder and on a remote file system (fsspec's in-memory one)."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store, StoreError

STAGE = Stage("train", 1, "student", {"seed": 1}, {"base": Stage("model", 1, "base", {"hub": "a/b"})})
OTHER = Stage("train", 1, "student", {"seed": 2})


def test_a_file_is_created_only_where_there_is_none(store):
    path = "kind/stage/lease-1"
    store.create(path, b"first")
    with pytest.raises(FileExistsError):
        store.create(path, b"second")
    assert store.read(path) == b"first"
    assert [entry.rsplit("/", 1)[-1] for entry in store.fs.ls(f"{store.root}/kind/stage", detail=False)] == ["lease-1"]


def test_of_many_threads_one_creates_a_local_file(tmp_path):
    store, path, start_together = Store(str(tmp_path)), "kind/stage/record.json", threading.Barrier(12)

    def create(i):
        start_together.wait()
        try:
            store.create(path, str(i).encode() * 1000)
        except FileExistsError:
            return None
        return i

    with ThreadPoolExecutor(12) as pool:
        won = [i for i in pool.map(create, range(12)) if i is not None]
    assert len(won) == 1
    assert store.read(path) == str(won[0]).encode() * 1000


def test_overwrite_replaces_and_read_says_none_for_nothing(store):
    path = "kind/stage/lease-1"
    assert store.read(path) is None
    store.create(path, b"a longer first content")
    store.overwrite(path, b"second")
    assert store.read(path) == b"second"


def test_published_files_and_record_come_back(store, publish):
    assert store.record(STAGE) is None
    files = {"weights.bin": b"\x00\x01", "deep/er/figures.json": b"{}"}
    assert publish(store, STAGE, files, loss=1.5)
    record = store.record(STAGE)
    assert record["facts"] == {"loss": 1.5}
    assert record["identity"] == STAGE.identity
    assert record["inputs"] == {"base": STAGE.inputs["base"].address}
    folder = store.folder(STAGE.address, record)
    assert {name: (folder / name).read_bytes() for name in record["files"]} == files


def test_a_stage_without_files_has_an_empty_folder(store, publish):
    publish(store, STAGE, {})
    assert list(store.folder(STAGE.address, store.record(STAGE)).iterdir()) == []


def test_the_first_of_two_attempts_stands(store, publish):
    assert publish(store, STAGE, {"loss": b"1"}, attempt="one", loss=1)
    assert not publish(store, STAGE, {"loss": b"2"}, attempt="two", loss=2)
    record = store.record(STAGE)
    assert (record["attempt"], record["facts"]) == ("one", {"loss": 1})
    assert store.names(STAGE.address) == ["one", "record.json"]
    assert (store.folder(STAGE.address, record) / "loss").read_bytes() == b"1"


def test_publishing_clears_what_a_dead_attempt_left(tmp_path, publish):
    store = Store(str(tmp_path))
    (store.new_folder(STAGE, "dead") / "half").write_bytes(b"half")
    publish(store, STAGE, {"whole": b"whole"}, attempt="alive")
    folder = tmp_path / STAGE.address
    assert sorted(path.name for path in folder.iterdir()) == ["alive", "record.json"]
    assert (folder / "alive" / "whole").read_bytes() == b"whole"


@pytest.mark.parametrize(
    "error", [PermissionError("another user's"), OSError(39, "not empty"), FileNotFoundError("gone")]
)
def test_a_failed_clean_up_after_the_record_loses_nothing(store, publish, monkeypatch, error):
    store.create(f"{STAGE.address}/dead/half", b"half")

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(store.fs, "rm", fails)
    monkeypatch.setattr(store.fs, "rm_file", fails)
    assert publish(store, STAGE, {"whole": b"whole"}, attempt="alive")
    assert (store.folder(STAGE.address, store.record(STAGE)) / "whole").read_bytes() == b"whole"


def test_a_record_that_arrived_without_an_answer_counts(remote, publish, monkeypatch):
    pipe_file = remote.fs.pipe_file

    def lost(path, data, mode="overwrite"):
        pipe_file(path, data, mode=mode)
        if path.endswith("record.json"):
            raise PermissionError("the session has expired")

    monkeypatch.setattr(remote.fs, "pipe_file", lost)
    assert publish(remote, STAGE, {"weights.bin": b"weights"})
    assert publish(remote, STAGE, {"weights.bin": b"others"}, attempt="two") is False
    assert remote.record(STAGE)["attempt"] == "one"


@pytest.mark.parametrize("content", [b"", b'{"fingerprint": "ab', b"\0\0\0", b"\xff"])
def test_a_torn_record_is_set_aside_and_the_stage_runs_again(store, publish, caplog, content):
    store.create(f"{STAGE.address}/record.json", content)
    assert store.record(STAGE) is None
    assert f"{STAGE.address}/record.json is damaged ({len(content)} bytes" in caplog.text
    assert store.names(STAGE.address) == ["record.json.damaged"]
    assert publish(store, STAGE, {"whole": b"whole"})
    assert store.names(STAGE.address) == ["one", "record.json"]


@pytest.mark.parametrize(
    "changed", [{"files": {"../../.bashrc": {}}}, {"files": {"/etc/passwd": {}}}, {"attempt": "../x"}]
)
def test_a_record_that_names_files_outside_its_folder_is_refused(store, changed):
    record = {"fingerprint": STAGE.fingerprint, "attempt": "one", "files": {}, **changed}
    store.create(f"{STAGE.address}/record.json", json.dumps(record).encode())
    with pytest.raises(StoreError, match="outside its folder"):
        store.record(STAGE)


def test_a_failed_download_leaves_nothing_in_the_cache(remote, publish, tmp_path):
    publish(remote, STAGE, {"weights.bin": b"weights"})
    remote.overwrite(f"{STAGE.address}/one/weights.bin", b"damaged")
    with pytest.raises(StoreError, match="wrong checksum"):
        remote.folder(STAGE.address, remote.record(STAGE))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_remote_files_are_fetched_once(remote, publish):
    publish(remote, STAGE, {"weights.bin": b"weights"})
    record = remote.record(STAGE)
    folder = remote.folder(STAGE.address, record)
    remote.fs.rm_file(f"{remote.root}/{STAGE.address}/one/weights.bin")
    assert remote.folder(STAGE.address, record) == folder
    assert (folder / "weights.bin").read_bytes() == b"weights"


def test_a_corrupt_remote_file_is_refused_until_it_is_restored(remote, publish):
    publish(remote, STAGE, {"a.bin": b"good", "weights.bin": b"weights"})
    record, path = remote.record(STAGE), f"{STAGE.address}/one/weights.bin"
    remote.overwrite(path, b"wEights")
    with pytest.raises(StoreError, match=r"the download of weights\.bin has a wrong checksum"):
        remote.folder(STAGE.address, record)
    # What arrived in part must not be taken for the whole the next time.
    with pytest.raises(StoreError, match=r"weights\.bin"):
        remote.folder(STAGE.address, record)
    remote.overwrite(path, b"weights")
    assert (remote.folder(STAGE.address, record) / "weights.bin").read_bytes() == b"weights"


def test_two_remote_stores_do_not_share_a_cache(remote, publish):
    other = Store(f"memory://{uuid.uuid4().hex}/runs")
    publish(remote, STAGE, {"x": b"here"})
    publish(other, STAGE, {"x": b"there"})
    read = [(s.folder(STAGE.address, s.record(STAGE)) / "x").read_bytes() for s in (remote, other)]
    assert read == [b"here", b"there"]


def test_a_writable_store_is_left_as_it_was(store):
    store.create("keep", b"")
    store.check_writable()
    assert [entry.rsplit("/", 1)[-1] for entry in store.fs.ls(store.root, detail=False)] == ["keep"]


def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be written.*store=URI"):
        Store(str(tmp_path / "file" / "runs")).check_writable()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(StoreError, match="nosuchscheme"):
        Store("nosuchscheme://bucket/runs")


def test_records_are_those_of_finished_stages(store, publish):
    publish(store, OTHER, {}, loss=2)
    found = store.records([STAGE, OTHER, STAGE.inputs["base"]])
    assert list(found) == [OTHER]
    assert found[OTHER]["facts"] == {"loss": 2}


def test_records_of_a_kind_are_found_by_address(store, publish):
    publish(store, STAGE, {"a": b""}, loss=1)
    publish(store, OTHER, {}, loss=2)
    publish(store, STAGE.inputs["base"], {})
    store.create("train/unfinished/lease-1", b"{}")
    found = store.records_of_kind("train")
    assert {address: record["facts"]["loss"] for address, record in found.items()} == {
        STAGE.address: 1,
        OTHER.address: 2,
    }


def test_a_record_of_another_stage_at_the_same_address_is_refused(store):
    record = {"fingerprint": OTHER.fingerprint, "attempt": "one", "files": {}}
    store.create(f"{STAGE.address}/record.json", json.dumps(record).encode())
    with pytest.raises(StoreError, match="another stage with the same short hash"):
        store.record(STAGE)
