"""Does `prepare` store every image once, survive kills and full disks, and tell what it could not read?"""

import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_sources import DrawnSource, FolderSource, table_of, write_folder

from cxrvl.data import store_files, store_workers
from cxrvl.data.images import ImageStore, StoreSpec, prepare, store_id, to_pixels
from cxrvl.data.readers import read_image
from cxrvl.errors import DataError, RunError

SPEC = StoreSpec(16)
HERE = Path(__file__).parent


def check(store, source, table):
    rows = store.rows(table)
    for row, key in zip(rows, table.frame["image"], strict=True):
        np.testing.assert_array_equal(store.pixels[row], to_pixels(source.read(key), store.spec), err_msg=key)


def run_python(code, **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code], env=env, text=True, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_prepared_images_are_the_images(tmp_path, workers):
    source = FolderSource(write_folder(tmp_path / "in", 40))
    table = source.table()
    store = prepare(source, table, SPEC, tmp_path / "out", workers=workers)
    check(store, source, table)
    assert store.folder.name == store_id(source, table, SPEC)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [store.folder.name]
    assert sorted(p.name for p in store.folder.iterdir()) == [
        "images.npy",
        "index.parquet",
        "meta.json",
        "quarantine.csv",
    ]
    assert store.readable.sum() == 40
    np.testing.assert_array_equal(store.fov, np.tile([0, 0, 1, 1], (40, 1)))


def test_order_of_rows_does_not_matter(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 5))
    table = source.table()
    store = prepare(source, table, SPEC, tmp_path / "out", workers=0)
    turned = table_of(list(table.frame["image"])[::-1], source.root)
    assert prepare(source, turned, SPEC, tmp_path / "out", workers=0).folder == store.folder
    check(store, source, turned)


@pytest.fixture
def handed(monkeypatch):
    """The numbers of images that were handed to other processes."""
    numbers, pool = [], store_workers._decode_together

    def together(decoder, chunks, workers):
        numbers.append(sum(map(len, chunks)))
        return pool(decoder, chunks, workers)

    monkeypatch.setattr(store_workers, "_decode_together", together)
    return numbers


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [50]), (60.0, [])])
def test_sources_that_read_many(tmp_path, monkeypatch, handed, seconds, expected):
    """One process draws for a while, and then calls for others, which start slowly."""
    monkeypatch.setattr(store_workers, "ALONE_SECONDS", seconds)
    source = DrawnSource(50)
    store = prepare(source, source.table(), SPEC, tmp_path, workers=2)
    np.testing.assert_array_equal(store.pixels[:, 0, 0], np.rint(np.arange(50) / 128 * 255))
    assert handed == expected


def test_others_are_called_for_what_is_left(tmp_path, monkeypatch, handed):
    monkeypatch.setattr(store_workers, "ALONE_SECONDS", 0.1)
    source = DrawnSource(50, delay=0.2)
    store = prepare(source, source.table(), SPEC, tmp_path, workers=2)
    np.testing.assert_array_equal(store.pixels[:, 0, 0], np.rint(np.arange(50) / 128 * 255))
    assert handed == [50 - store_workers.CHUNK]


def test_files_are_handed_to_others_at_once(tmp_path, monkeypatch, handed):
    """A decoder that crashes over a file takes a worker with it, and not the command."""
    monkeypatch.setattr(store_workers, "ALONE_SECONDS", 60.0)
    source = FolderSource(write_folder(tmp_path / "in", 17))
    prepare(source, source.table(), SPEC, tmp_path / "out", workers=1)
    assert handed == [17]


def test_done_is_instant_and_touches_nothing(tmp_path, monkeypatch):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    store = prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    before = {p.name: p.stat().st_mtime_ns for p in store.folder.iterdir()}
    monkeypatch.setattr(FolderSource, "read", None)
    prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    assert {p.name: p.stat().st_mtime_ns for p in store.folder.iterdir()} == before


def test_identity_of_a_store(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    table = source.table()
    names = {
        store_id(source, table, SPEC),
        store_id(source, table, StoreSpec(16, "pad")),
        store_id(source, table, StoreSpec(16, bits=16)),
        store_id(FolderSource(source.root, version=2), table, SPEC),
        store_id(source, table_of(["000.png"], source.root), SPEC),
    }
    assert len(names) == 5
    assert store_id(FolderSource(source.root, delay=3), table, SPEC) in names


def test_maps_are_read_only_and_pickles_small(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    store = prepare(source, source.table(), StoreSpec(200), tmp_path / "out", workers=0)
    assert isinstance(store.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.pixels[0] = 0
    assert len(pickle.dumps(store)) < 1000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).pixels, store.pixels)
    batch = store.take(np.array([2, 0, 2]))
    batch[:] += 1
    np.testing.assert_array_equal(batch - 1, store.pixels[[2, 0, 2]])


def test_unreadable_images_are_quarantined_and_retried(tmp_path, monkeypatch):
    source = FolderSource(write_folder(tmp_path / "in", 4))
    good = (source.root / "001.png").read_bytes()
    (source.root / "001.png").write_bytes(good[: len(good) // 2].ljust(len(good), b"\0"))
    (source.root / "003.png").write_text("a report")
    table = source.table()
    with pytest.raises(DataError, match=r"2 of 4 images cannot be read \(0 are allowed\), first 001.png: broken"):
        prepare(source, table, SPEC, tmp_path / "out", workers=0)
    folder = tmp_path / "out" / store_id(source, table, SPEC)
    listed = pd.read_csv(folder / "quarantine.csv")
    assert list(listed["image"]) == ["001.png", "003.png"]
    assert list(listed["file"]) == [str(source.root / key) for key in listed["image"]]
    assert "text file" in listed["reason"][1]

    store = prepare(source, table, SPEC, tmp_path / "out", workers=0, max_unreadable=2)
    np.testing.assert_array_equal(store.available(table), [True, False, True, False])
    assert np.isnan(store.fov[1]).all()
    with pytest.raises(DataError, match=r"2 of 4 images could not be read, first 001.png \(row 1\)"):
        store.rows(table)
    check(store, source, table_of(["000.png", "002.png"], source.root))

    (source.root / "001.png").write_bytes(good)
    read = []
    monkeypatch.setattr(FolderSource, "read", lambda self, key: read.append(key) or read_image(self.root / key))
    store = prepare(source, table, SPEC, tmp_path / "out", workers=0, max_unreadable=1)
    assert read == ["001.png", "003.png"]
    check(store, source, table_of(["000.png", "001.png", "002.png"], source.root))


def test_nothing_readable_is_an_error_whatever_is_allowed(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 1))
    (source.root / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        prepare(source, source.table(), SPEC, tmp_path / "out", workers=0, max_unreadable=5)


def test_changed_files_are_read_again(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    table = source.table()
    prepare(source, table, SPEC, tmp_path / "out", workers=0)
    file = source.root / "001.png"
    (source.root / "002.png").replace(file)
    write_folder(source.root, 3)
    content = (source.root / "000.png").read_bytes()
    file.write_bytes(content)
    store = prepare(source, table, SPEC, tmp_path / "out", workers=0)
    check(store, source, table)
    np.testing.assert_array_equal(store.pixels[0], store.pixels[1])


@pytest.fixture
def reads(monkeypatch):
    """The keys that were decoded, in order."""
    read = []
    monkeypatch.setattr(FolderSource, "read", lambda self, key: read.append(key) or read_image(self.root / key))
    return read


def test_another_set_of_images_decodes_only_what_no_older_store_holds(tmp_path, reads):
    source = FolderSource(write_folder(tmp_path / "in", 4))
    (source.root / "003.png").write_text("unreadable")
    first = prepare(source, source.table(), SPEC, tmp_path / "out", workers=0, max_unreadable=1)
    reads.clear()
    longer = (source.root / "002.png").read_bytes() + b"\0"
    (source.root / "002.png").write_bytes((source.root / "001.png").read_bytes())
    write_folder(tmp_path / "more", 6)
    for name in ("003.png", "004.png", "005.png"):
        (tmp_path / "more" / name).replace(source.root / name)
    (source.root / "000.png").unlink()
    table = source.table()
    second = prepare(source, table, SPEC, tmp_path / "out", workers=2)
    assert second.folder != first.folder
    assert reads == ["002.png", "003.png", "004.png", "005.png"], "changed, mended and new; 001.png was copied"
    check(second, FolderSource(source.root), table)
    reads.clear()
    (source.root / "005.png").write_bytes(longer)
    third = prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    assert reads == ["005.png"], "from the newest store that holds it"
    check(third, FolderSource(source.root), source.table())
    index = pd.read_parquet(third.folder / "index.parquet")
    assert index["row"].tolist() == list(range(5))
    reads.clear()
    part = table_of(["004.png", "001.png"], source.root)
    fourth = prepare(source, part, SPEC, tmp_path / "out", workers=2)
    assert reads == [], "nothing was left to decode"
    check(fourth, FolderSource(source.root), part)


@pytest.mark.parametrize(
    ("spec", "version", "name"),
    [
        (StoreSpec(16, "pad"), 1, "folder"),
        (StoreSpec(16, bits=16), 1, "folder"),
        (SPEC, 2, "folder"),
        (SPEC, 1, "else"),
    ],
)
def test_squares_made_in_another_way_are_not_taken(tmp_path, reads, spec, version, name):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    reads.clear()
    other = FolderSource(source.root, version=version, name=name)
    prepare(other, table_of(["001.png"], source.root), spec, tmp_path / "out", workers=0)
    assert reads == ["001.png"]


def test_generated_images_are_not_taken_from_an_older_store(tmp_path):
    """They have no file that could tell whether they are the same."""
    prepare(DrawnSource(5), DrawnSource(5).table(), SPEC, tmp_path, workers=0)
    source, drawn = DrawnSource(6), []
    source.read_many = lambda keys: drawn.extend(keys) or DrawnSource(6).read_many(keys)
    prepare(source, source.table(), SPEC, tmp_path, workers=0)
    assert len(drawn) == 6


@pytest.mark.parametrize("name", ["images.npy", "index.parquet", "meta.json"])
def test_a_damaged_older_store_is_told_of_and_not_used(tmp_path, reads, caplog, name):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    older = prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    os.truncate(older.folder / name, 40)
    reads.clear()
    part = table_of(["000.png", "001.png"], source.root)
    store = prepare(source, part, SPEC, tmp_path / "out", workers=0)
    assert reads == ["000.png", "001.png"]
    assert f"no image is taken from an older store: {older.folder / name} is damaged" in caplog.text
    check(store, FolderSource(source.root), part)


def test_images_of_another_table_are_named(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 3))
    store = prepare(source, table_of(["000.png"], source.root), SPEC, tmp_path / "out", workers=0)
    with pytest.raises(DataError, match=r"2 of 3 images are not in the store .* first 001.png \(row 1\)"):
        store.rows(source.table())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.parquet", b"PAR1 not really PAR1"),
        ("index.parquet", b""),
        ("meta.json", b'{"identity": {"size": 8'),
        ("meta.json", b"[]"),
        ("meta.json", b'{"identity": {"size": 8, "policy": "stretch", "bits": 8}}'),
        ("journal.jsonl", b'{"row": 0}\n{}\n'),
    ],
)
def test_a_damaged_file_of_a_store_is_named_with_its_remedy(tmp_path, name, content):
    source = DrawnSource(5)
    store = prepare(source, source.table(), StoreSpec(8), tmp_path / "stores", workers=0)
    (store.folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is damaged .*delete the folder"):
        prepare(source, source.table(), StoreSpec(8), tmp_path / "stores", workers=0)


def test_a_finished_store_on_a_read_only_disk_is_used(tmp_path, monkeypatch):
    source = DrawnSource(5)
    store = prepare(source, source.table(), StoreSpec(8), tmp_path / "stores", workers=0)

    def refuse(*_: object):
        raise OSError(errno.EROFS, "Read-only file system", str(store.folder))

    monkeypatch.setattr("cxrvl.data.preparation.exclusive", refuse)
    assert len(prepare(source, source.table(), StoreSpec(8), tmp_path / "stores", workers=0)) == 5


def test_unfinished_and_damaged_stores_are_not_opened(tmp_path):
    with pytest.raises(DataError, match="is no image store"):
        ImageStore.open(tmp_path)
    source = FolderSource(write_folder(tmp_path / "in", 3))
    store = prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    os.truncate(store.folder / "images.npy", 300)
    with pytest.raises(DataError, match="is damaged"):
        ImageStore.open(store.folder)
    check(prepare(source, source.table(), SPEC, tmp_path / "out", workers=0), source, source.table())
    (store.folder / "index.parquet").unlink()
    with pytest.raises(DataError, match="is not finished"):
        ImageStore.open(store.folder)


PREPARE = """
import signal, sys
from pathlib import Path
from store_sources import FolderSource
from cxrvl.data import preparation
from cxrvl.data.images import prepare, StoreSpec
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    preparation.COMMIT_IMAGES = 3
    source = FolderSource(Path({root!r}), delay={delay})
    prepare(source, source.table(), StoreSpec(16), {out!r}, workers={workers})
"""


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_killed_and_continued(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 60))
    out, table = tmp_path / "out", source.table()
    journal = out / store_id(source, table, SPEC) / "journal.jsonl"
    code = PREPARE.format(root=str(source.root), out=str(out), delay=0.05, workers=0)
    for lines in (4, 12, 25):
        process = run_python(code)
        until(lambda n=lines: journal.exists() and journal.read_bytes().count(b"\n") >= n)
        process.kill()
        process.communicate()
        with journal.open("ab") as stream:
            stream.write(b'{"row": 59, "wid')
    finished = journal.read_bytes().count(b"\n")
    read = []
    source.read = lambda key: read.append(key) or read_image(source.root / key)
    store = prepare(source, table, SPEC, out, workers=0)
    assert len(read) == 60 - finished
    check(store, FolderSource(source.root), table)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path, signal_number):
    source = FolderSource(write_folder(tmp_path / "in", 200))
    out, table = tmp_path / "out", source.table()
    journal = out / store_id(source, table, SPEC) / "journal.jsonl"
    process = run_python(PREPARE.format(root=str(source.root), out=str(out), delay=0.05, workers=2))
    until(lambda: journal.exists() and journal.stat().st_size > 0)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal_number)
    _, said = process.communicate(timeout=30)
    until(lambda: not any(alive(pid) for pid in workers), 10)
    if signal_number == signal.SIGINT:
        assert "KeyboardInterrupt" in said
        assert "Process SpawnProcess" not in said
    assert not (journal.parent / "index.parquet").exists()
    check(prepare(source, table, SPEC, out, workers=0), source, table)


def test_killed_worker_is_a_clear_error(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 40), kill_at="020.png")
    with pytest.raises(RunError, match=r"worker process died .* start again"):
        prepare(source, source.table(), SPEC, tmp_path / "out", workers=2)
    well = FolderSource(source.root)
    check(prepare(well, well.table(), SPEC, tmp_path / "out", workers=0), well, well.table())


def test_second_process_waits_and_finds_it_done(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 40))
    out, table = tmp_path / "out", source.table()
    code = PREPARE.format(root=str(source.root), out=str(out), delay=0.05, workers=0)
    first = run_python(code)
    lock = out / f".{store_id(source, table, SPEC)}.lock"
    until(lock.exists)
    folder = out / store_id(source, table, SPEC)
    until(folder.exists)
    source.read = lambda key: pytest.fail("decoded twice")
    store = prepare(source, table, SPEC, out, workers=0)
    assert first.wait(30) == 0
    first.communicate()
    assert not lock.exists()
    check(store, FolderSource(source.root), table)


def test_full_disk_is_found_before_any_work(tmp_path, monkeypatch):
    source = FolderSource(write_folder(tmp_path / "in", 3))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_files.os, "posix_fallocate", full)
    source.read = lambda key: pytest.fail("work was done")
    with pytest.raises(RunError, match=r"no room to write \(No space left on device\): 0.000 GB are needed"):
        prepare(source, source.table(), SPEC, tmp_path / "out", workers=0)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("call", ["pwrite", "write"])
def test_disk_that_fills_up_later_leaves_a_store_to_continue(tmp_path, monkeypatch, call):
    source = FolderSource(write_folder(tmp_path / "in", 5))
    table = source.table()
    true, calls = getattr(os, call), []

    def fills_up(descriptor, data, *rest):
        calls.append(1)
        if len(calls) > (3 if call == "pwrite" else 1):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return true(descriptor, data[:7], *rest) if call == "write" else true(descriptor, data, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(store_files.os, call, fills_up)
        with pytest.raises(RunError, match="no room to write"):
            prepare(source, table, SPEC, tmp_path / "out", workers=0)
    with pytest.raises(DataError, match="is not finished"):
        ImageStore.open(tmp_path / "out" / store_id(source, table, SPEC))
    check(prepare(source, table, SPEC, tmp_path / "out", workers=0), source, table)


def test_real_file_size_limit(tmp_path):
    """A limit the kernel enforces, in a process of its own."""
    source = FolderSource(write_folder(tmp_path / "in", 30))
    code = PREPARE.format(root=str(source.root), out=str(tmp_path / "out"), delay=0, workers=0)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    process = run_python(code, preexec_fn=limit)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "RunError: image store" in said
    assert "no room to write" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_empty_table_is_refused(tmp_path):
    source = FolderSource(write_folder(tmp_path / "in", 1))
    table = source.table()
    object.__setattr__(table, "frame", table.frame.iloc[:0])
    with pytest.raises(DataError, match="no images to prepare"):
        prepare(source, table, SPEC, tmp_path / "out")
