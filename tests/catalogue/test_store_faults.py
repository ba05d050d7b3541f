"""What an object store refuses, or a broken connection, is one line that says what to do, within seconds."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue import store_remote
from featdex.catalogue.errors import FeatdexError, UsageError
from featdex.catalogue.store import Store, is_remote
from featdex.catalogue.store_remote import parse

LARGE = random.Random(1).randbytes(21 << 20)


def fails(action: Callable[[], Any]) -> str:
    """The one line with which an action fails."""
    with pytest.raises(FeatdexError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 420
    return text


@pytest.mark.usefixtures("object_store")
def test_a_missing_bucket_is_told_whatever_is_done() -> None:
    store = Store("s3://no-such-bucket/x")
    actions: tuple[Callable[[], Any], ...] = (
        store.probe,
        store.files,
        lambda: store.exists("x"),
        lambda: store.write("x", b"1"),
        lambda: store.write("x", LARGE),
    )
    for action in actions:
        assert "there is no bucket no-such-bucket at http://127.0.0.1" in fails(action)


def test_missing_rights_are_named(object_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(object_store.url).write("x", b"1")
    reader = object_store.server.user("reader", "s3:GetObject", "s3:ListBucket")
    writer = object_store.server.user("writer", "s3:PutObject", "s3:GetObject", "s3:ListBucket")
    blind = object_store.server.user("blind", "s3:PutObject")
    with object_store.server.checking_rights():
        for keys, lacking in ((reader, "s3:PutObject"), (writer, "s3:DeleteObject"), (blind, "s3:GetObject")):
            for name, value in keys.items():
                monkeypatch.setenv(name, value)
            assert f"access denied: the credentials in use, if any, lack {lacking}" in fails(
                Store(object_store.url).probe
            )
        assert "lack s3:ListBucket" in fails(Store(object_store.url).files)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        assert "does not know these credentials" in fails(Store(object_store.url).probe)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        assert "does not know these credentials" in fails(Store(object_store.url).files)
    assert object_store.objects().keys() <= {"x", *(key for key in object_store.objects() if "probe" in key), ""}


def test_keys_come_from_a_profile_too(object_store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = object_store.server.user("somebody", "s3:*")
    for name in keys:
        monkeypatch.delenv(name)
    profile = "\n".join(f"{name.lower()} = {value}" for name, value in keys.items())
    (tmp_path / "credentials").write_text(f"[mine]\n{profile}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    with object_store.server.checking_rights():
        Store(object_store.url).write("x", b"1")
        monkeypatch.setenv("AWS_PROFILE", "other")
        assert "access denied" in fails(lambda: Store(object_store.url).write("x", b"2"))
    assert object_store.objects() == {"x": b"1"}


@pytest.fixture
def answers(object_store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """A server of the test's own that sends these bytes to every request and hangs up."""
    to_send = [b""]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(to_send[0])

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield lambda text: to_send.__setitem__(0, text)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "no connection to http://127.0.0.1:"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf", "or it broke (Transferred a partial file)"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "overloaded or out of order"),
        (b"HTTP/1.1 301 Moved\r\ncontent-length: 0\r\n\r\n", "in another region than us-east-1; set AWS_REGION"),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n", "refuses the request"),
    ],
)
def test_a_server_that_fails_is_told(
    answers: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch, sent: bytes, told: str
) -> None:
    monkeypatch.setattr(store_remote, "ATTEMPTS", 1)
    answers(sent)
    assert told in fails(lambda: Store("s3://bucket/x").files())


@pytest.mark.usefixtures("object_store")
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_dead_server_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setattr(store_remote, "_GCS_SECONDS", 1)
    started = time.monotonic()
    text = fails(lambda: Store(f"{scheme}://bucket/x").read("y"))
    assert text.startswith(f"{scheme}://bucket/x/y: no connection to http://127.0.0.1:9, or it broke")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "text",
    ["ftp://host/x", "s3://", "s3:///x", "s3://a b/x", "s3://key:secret@bucket/x", "s3://bucket/x?region=y",
     "s3://bucket/a/../b", "s3://bucket/a//b", "s3://bucket/*", "gs://-/x", "S3://bucket/x"],
)  # fmt: skip
def test_names_that_cannot_be_are_refused(text: str) -> None:
    assert is_remote(text)
    with pytest.raises(UsageError, match="name s3://BUCKET/PREFIX or gs://BUCKET/PREFIX") as caught:
        Store(text)
    assert "secret" not in str(caught.value)


def test_a_prefix_may_be_empty_or_end_in_slashes() -> None:
    assert [str(parse(text)) for text in ("s3://bucket", "s3://bucket/", "gs://b.c/d/e=1//")] == [
        "s3://bucket", "s3://bucket", "gs://b.c/d/e=1",
    ]  # fmt: skip
    assert Store("s3://bucket/").place("x") == "s3://bucket/x"


@pytest.mark.parametrize("value", ["ftp://host", "http://", "://"])
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", value)
    with pytest.raises(UsageError, match=r"AWS_ENDPOINT_URL_S3 is .*, which is no address"):
        Store("s3://bucket/x").probe()
