"""What an input may do to its reader: be refused in one line, soon, in little memory, and touch nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CPU_SECONDS = 5.0
"""Processor time that one input may take."""

MEMORY_BYTES = 1 << 30
"""Address space that one input may take beyond what its reader has when it is warm."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATH_EVENTS = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn", "pickle.find_class"}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"}
_OWN_PROCESS = "set_pattern_worker.py"
"""The one program that a reader may start: it matches the patterns of a set file."""


class Verdict(NamedTuple):
    """What became of an input. `signature` is the kind of fault and where it is; the same twice is one to mend."""

    outcome: str
    signature: str = ""
    detail: str = ""


ACCEPTED, REFUSED, FAULT = "accepted", "refused", "fault"


class OvertimeError(BaseException):
    """An input that takes too long; no `except Exception` of a reader's catches it."""


class Guard:
    """Watches what this process does while an input is read: writes outside `folder`, programs, the network.

    What it sees it stops, so that no input can do harm. The network is stopped and no fault: a name of a repository is
    a reason to ask for it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.allowed: tuple[str, ...] = ()
        """Paths outside that an input names itself as the place to write to; they are stopped and no fault."""
        self._is_watching = False
        self._seen: list[str] = []
        sys.addaudithook(self._audit)

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Yield the list of what is seen, as it grows."""
        self._seen = []
        self._is_watching = True
        try:
            yield self._seen
        finally:
            self._is_watching = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_watching:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and isinstance(path, str | bytes):
                self._check(event, path)
        elif event in _PATH_EVENTS:
            for path in arguments:
                if isinstance(path, str | bytes):
                    self._check(event, path)
        elif event in _RUNS or (event == "subprocess.Popen" and _OWN_PROCESS not in repr(arguments[1])):
            self._stop(f"{event} {repr(arguments)[:200]}")
        elif event in _NETWORK:
            raise PermissionError(1, f"the network is off: {event}")

    def _check(self, event: str, path: str | bytes) -> None:
        whole = os.path.realpath(os.fsdecode(path))
        is_ours = whole == self.folder or whole.startswith(self.folder + os.sep) or "__pycache__" in whole
        if is_ours or whole == os.devnull:
            return
        if any(Path(whole).parent == Path(named).resolve().parent for named in self.allowed):
            raise PermissionError(1, "nothing is written there", whole)
        self._stop(f"{event} {whole}")

    def _stop(self, what: str) -> None:
        self._seen.append(what)
        raise PermissionError(1, f"stopped: {what}")


@contextlib.contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Raise `OvertimeError` in the block once the process has used so much processor time in it."""

    def stop(_signal: int, _frame: Any) -> None:
        raise OvertimeError(f"took more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def cpu_seconds() -> float:
    """Return the processor time of this process and its children so far."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Streams(NamedTuple):
    """What a call has printed."""

    out: io.TextIOWrapper
    err: io.TextIOWrapper

    def error_text(self) -> str:
        self.err.flush()
        buffer = self.err.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("utf-8")


@contextlib.contextmanager
def captured() -> Iterator[Streams]:
    """Take what is printed, with the error handling of a real process's streams."""
    streams = Streams(
        io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True),
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True),
    )
    with contextlib.redirect_stdout(streams.out), contextlib.redirect_stderr(streams.err):
        yield streams


def judged(read: Callable[[], object], guard: Guard, judge: Callable[[object, str], str]) -> Verdict:
    """Run a reader on an input and say whether it kept the contract.

    Args:
        read: The reader; a `FeatdexError` is a refusal.
        guard: Watches it.
        judge: Says what is wrong with what it returned and printed on stderr; "" for nothing, "refused" for a refusal.
    """
    from featdex.catalogue.errors import FeatdexError

    refusal = None
    with captured() as streams, guard.watching() as seen:
        try:
            with processor_time(CPU_SECONDS):
                returned = read()
        except FeatdexError as error:
            refusal = str(error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # A panic of a library in Rust is no Exception.
            if seen:
                return Verdict(FAULT, f"did {seen[0].split()[0]}", seen[0])
            return Verdict(FAULT, signature_of(error), "".join(traceback.format_exception(error))[-3000:])
    text = streams.error_text()
    if seen:
        return Verdict(FAULT, f"did {seen[0].split()[0]}", seen[0])
    if "Traceback (most recent call last)" in text:
        return Verdict(FAULT, "printed a traceback", text[-3000:])
    if refusal is not None:
        wrong = wrong_message(refusal)
        return Verdict(FAULT, wrong, refusal[:500]) if wrong else Verdict(REFUSED, "", refusal[:300])
    wrong = judge(returned, text)
    if wrong == REFUSED:
        return Verdict(REFUSED)
    return Verdict(FAULT, wrong, text[-1000:]) if wrong else Verdict(ACCEPTED)


def wrong_message(message: str) -> str:
    """Return what is wrong with a refusal: it has to be one line, of a length, and without control characters."""
    if not message.strip():
        return "a message that says nothing"
    bad = next((sign for sign in message if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")), None)
    bad = bad or next((sign for sign in message if "\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069"), None)
    return f"a message with U+{ord(bad):04X}: {_shape(message)}" if bad else ""


def _shape(message: str) -> str:
    """Return the words of a message that are the reader's own, more or less, so that like faults look alike."""
    return " ".join(word for word in message.split() if word.isascii() and word.isalpha())[:60]


def signature_of(error: BaseException) -> str:
    """Return the type of an error and the last line of featdex's on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent.name in ("ingest", "catalogue")]
    where = own[-1] if own else frames[-1]
    return f"{type(error).__name__} at {Path(where.filename).parent.name}/{Path(where.filename).name}:{where.lineno}"
