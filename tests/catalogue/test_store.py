"""A file of a store is there whole or not at all, on a disk as in an S3 server; faults are one line."""

from __future__ import annotations

import _thread
import os
import pickle
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.errors import FeatdexError
from featdex.catalogue.store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LARGE = random.Random(1).randbytes(21 << 20)
"""Goes up in three parts."""


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(tmp_path / "store")
    return Store(request.getfixturevalue("object_store").url)


def fails(action: Callable[[], Any]) -> str:
    """The one line with which an action fails."""
    with pytest.raises(FeatdexError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 420
    return text


def fail_in(store: Store, path: str, content: bytes) -> None:
    with store.writing(path) as stream:
        stream.write(content)
        raise ZeroDivisionError


def test_a_file_comes_back_as_it_was_written(store: Store) -> None:
    for path, content in {"a": b"", "b/c=01/d.parquet": b"\0\xff", "b/large": LARGE, "ä ö/%41+x": b"1"}.items():
        assert not store.exists(path)
        store.write(path, content)
        assert store.exists(path)
        assert store.read(path) == content
        assert store.size(path) == len(content)
    assert store.files() == ["a", "b/c=01/d.parquet", "b/large", "ä ö/%41+x"]
    assert store.files("b") == ["b/c=01/d.parquet", "b/large"]
    with store.reading("b/large") as file:
        file.seek(1 << 20)
        assert file.read(100) == LARGE[1 << 20 : (1 << 20) + 100]


def test_files_are_copied_whole_from_the_disk_and_to_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    store.put("x/large", tmp_path / "large")
    store.get("x/large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == LARGE
    assert "no such file" in fails(lambda: store.get("nothing", tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == LARGE


NAMES = st.sampled_from(["a", "b", "f/a", "f/b", "f/g/a", ".hidden", "f/.h/x"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.binary(max_size=20)),
        st.tuples(st.just("remove"), NAMES, st.none()),
        st.tuples(st.just("remove_folder"), st.sampled_from(["f", "f/g", "none"]), st.none()),
        st.tuples(st.just("fail"), NAMES, st.none()),
    ),
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_disk_and_an_object_store_behave_alike(steps: list[Any], object_store: Any, tmp_path: Path) -> None:
    unique = f"{time.monotonic_ns()}"
    stores = [Store(tmp_path / unique), Store(f"{object_store.url}/{unique}")]
    expected: dict[str, bytes] = {}
    for step, path, content in steps:
        for store in stores:
            if step == "fail":
                with pytest.raises(ZeroDivisionError):
                    fail_in(store, path, b"half")
            else:
                getattr(store, step)(*[path] if content is None else [path, content])
        if step == "write":
            expected[path] = content
        elif step != "fail":
            expected = {name: what for name, what in expected.items() if name != path and f"{path}/" not in name}
    visible = sorted(name for name in expected if "/." not in f"/{name}")
    for store in stores:
        assert store.files() == visible
        for below in ("f", "f/g", "none", "a"):
            assert store.files(below) == [name for name in visible if name.startswith(f"{below}/")]
        assert store.read_many(expected) == list(expected.values())
        for name in ("a", "f", "f/g", "f/g/a", "none"):
            assert store.exists(name) == (name in expected)


def test_a_block_that_fails_leaves_what_was_there(store: Store) -> None:
    for content in (None, b"before"):
        if content:
            store.write("x", content)
        with pytest.raises(ZeroDivisionError):
            fail_in(store, "x", LARGE)
        assert store.files() == (["x"] if content else [])
    assert store.read("x") == b"before"


def test_a_fault_of_the_callers_own_files_is_the_callers(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), store.writing("x"):
        (tmp_path / "mine").read_bytes()
    assert not store.exists("x")


WRITER = """
import sys
from featdex.catalogue.store import Store
content = sys.stdin.buffer.read()
with Store(sys.argv[1]).writing("x") as stream:
    stream.write(content[:-1])
    stream.flush()
    print("written", flush=True)
    if not sys.argv[1].startswith("s3"):
        sys.stdin = open(0).read() or __import__("time").sleep(60)
    stream.write(content[-1:])
"""


def writer(where: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_killed_upload_is_not_seen(
    object_store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: bytes | None
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    store = Store(object_store.url)
    if before:
        store.write("x", before)
    arrived, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str, query: str) -> None:
        if "partNumber=3" in query:
            arrived.set()
            go_on.wait(30)

    object_store.server.refuse = hold
    with writer(object_store.url) as process:
        assert process.stdin
        process.stdin.write(LARGE)
        process.stdin.close()
        assert arrived.wait(30)
        assert object_store.objects() == ({"x": before} if before else {})
        process.kill()
        go_on.set()
    assert list(tmp_path.iterdir()) == []
    assert store.files() == (["x"] if before else [])
    assert object_store.objects() == ({"x": before} if before else {})


def test_a_killed_writer_leaves_a_hidden_file_that_can_be_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write("x", b"before")
    with writer(store.where) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"half of it")
        process.stdin.close()
        assert process.stdout.readline() == b"written\n"
        process.kill()
    left = [path for path in (tmp_path / "store").iterdir() if path.name != "x"]
    assert [path.read_bytes() for path in left] == [b"half of i"]
    assert store.files() == ["x"]
    assert store.read("x") == b"before"
    assert store.remove_leftovers() == 0
    assert store.remove_leftovers(older_than=0) == 1
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["x"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def watched_sync(handle: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def watched_replace(self: Path, to: Path) -> Path:
        done.append(f"{self} -> {to}")
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    Store(tmp_path / "new").write("f/x", b"1")
    folder, (renamed,) = tmp_path / "new" / "f", [step for step in done if "->" in step]
    scratch, name = renamed.split(" -> ")
    assert name == str(folder / "x")
    assert done == [str(tmp_path), str(tmp_path / "new"), scratch, renamed, str(folder)]


def test_an_upload_whose_begin_fails_makes_no_empty_object(
    object_store: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    object_store.server.refuse = lambda method, path, query: "403 Forbidden" if method == "POST" else None
    assert "s3:PutObject" in fails(lambda: Store(object_store.url).write("x", LARGE))
    assert object_store.objects() == {}
    assert "ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_a_refused_upload_leaves_nothing(object_store: Any, capfd: pytest.CaptureFixture[str], size: int) -> None:
    def refuse(method: str, path: str, query: str) -> str | None:
        return "403 Forbidden" if method == "PUT" and (not query or "partNumber=2" in query) else None

    object_store.server.refuse = refuse
    store = Store(object_store.url)
    assert "s3:PutObject" in fails(lambda: store.write("x", LARGE[:size]))
    assert object_store.objects() == {}
    # A stream of Arrow's that is given up tries once more, and complains on stderr.
    assert [method for method, *_ in object_store.server.requests].count("PUT") == (1 if size == 10 else 3)
    assert "ignored" not in capfd.readouterr().err


FULL = """
import resource, sys
from featdex.catalogue.errors import FeatdexError
from featdex.catalogue.store import Store
store = Store(sys.argv[1])
store.write("x", b"before")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.write("x", b"x" * 2000)
except FeatdexError as error:
    print(error)
print(store.read("x"), store.files())
"""


def test_a_full_disk_is_told_and_leaves_what_was_there(store: Store) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, store.where], capture_output=True, text=True, check=True)
    told, left = done.stdout.splitlines()
    assert left == "b'before' ['x']"
    if store.local is None:
        assert told.endswith(
            "where files for an object store are gathered: File too large; set TMPDIR to a folder with room"
        )
    else:
        assert told == f"{store.place('x')}: File too large; name a place that takes files of this size"
        assert [path.name for path in store.local.iterdir()] == ["x"]


def test_an_interrupted_upload_is_whole(object_store: Any) -> None:
    def interrupt(method: str, path: str, query: str) -> None:
        if "partNumber=2" in query:
            _thread.interrupt_main()

    object_store.server.refuse = interrupt
    with pytest.raises(KeyboardInterrupt):
        Store(object_store.url).write("x", LARGE)
    assert object_store.objects() == {"x": LARGE}


def test_many_threads_use_one_store(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: store.write(f"f/{n:02d}", b"%d" % n), range(40)))
    paths = [f"f/{n:02d}" for n in range(40)]
    assert store.files() == paths
    assert store.read_many(reversed(paths)) == [b"%d" % n for n in reversed(range(40))]
    assert "no such file" in fails(lambda: store.read_many([*paths, "f/none"]))


def test_small_files_take_one_request(object_store: Any) -> None:
    Store(object_store.url).write("x", b"1")
    assert [method for method, *_ in object_store.server.requests] == ["PUT"]


def test_other_processes_open_a_store_again(store: Store) -> None:
    store.write("x", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again.read("x") == b"1"
    assert again.place("a/b") == f"{store.where}/a/b"


FORKING = """
import multiprocessing, sys
from featdex.catalogue.store import Store
store = Store(sys.argv[1])
store.write("x", b"1")
child = multiprocessing.get_context("fork").Process(target=lambda: store.write("y", store.read("x") + b"2"))
child.start()
child.join(30)
print(child.exitcode, store.read("y"))
"""


def test_a_forked_process_goes_on_and_both_end(object_store: Any) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, object_store.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("0 b'12'\n", "")


def test_a_disk_needs_no_arrow(tmp_path: Path) -> None:
    code = (
        "import sys; from featdex.catalogue.store import Store; s = Store(sys.argv[1]); s.write('x', b'1'); s.probe();"
        "print(s.read('x'), s.files(), s.exists('x'), s.size('x'), 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "b'1' ['x'] True 1 False\n"


def test_a_probe_leaves_nothing(store: Store, request: pytest.FixtureRequest) -> None:
    store.probe()
    assert store.files() == []
    if store.local is not None:
        assert not store.local.exists()
        store.write("x", b"1")
        store.probe()
        assert [path.name for path in store.local.iterdir()] == ["x"]
    else:
        # The mark of a folder.
        assert set(request.getfixturevalue("object_store").objects()) <= {""}


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for action in (Store(tmp_path / "file").probe, lambda: Store(tmp_path / "file").write("x", b"1")):
        assert re.search("(Not a directory|File exists); name a folder$", fails(action))
    (tmp_path / "folder").mkdir()
    assert "Is a directory" in fails(lambda: Store(tmp_path).read("folder"))
    assert "Is a directory" in fails(lambda: Store(tmp_path).write("folder", b"1"))
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a\\b", "a\0", "a/"])
def test_no_path_leads_out_of_a_store(store: Store, path: str) -> None:
    store.write("keep", b"1")
    for action in (store.read, store.remove, store.remove_folder, lambda p: store.write(p, b"1"), store.exists):
        assert "no path of a file" in fails(lambda action=action: action(path))  # type: ignore[misc]
    assert store.files() == ["keep"]


def test_missing_files_are_told(store: Store) -> None:
    store.write("x", b"1")
    for action in (store.read, store.size, lambda path: store.reading(path).__enter__()):
        assert fails(lambda action=action: action("y")) == f"{store.place('y')}: there is no such file"  # type: ignore[misc]
    store.remove("y")
    store.remove_folder("z")
    assert store.files() == ["x"]
