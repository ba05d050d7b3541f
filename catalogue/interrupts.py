"""Ctrl-C in a running query: Python hears of it only once DuckDB returns, which may be never."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


_AGAIN_SECONDS = 0.05


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let Ctrl-C stop the query that runs on a connection; then `file.translated` raises `KeyboardInterrupt`.

    The interpreter tells a thread of every signal, whatever the main thread is in, and the thread interrupts the
    connection. Outside the main thread, which alone has signals, or where Ctrl-C is ignored, nothing changes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    told, teller = socket.socketpair()
    teller.setblocking(False)
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        # DuckDB may call this itself, between two tasks, and would then wait for those that still run.
        connection.interrupt()
        heard.set()
        signal.default_int_handler(number, frame)

    def watch() -> None:
        # An empty read: the block is over.
        while signals := told.recv(64):
            # DuckDB forgets an interrupt that comes while it plans a query: it is told until Python itself has heard.
            while signal.SIGINT in signals and not heard.wait(_AGAIN_SECONDS):
                connection.interrupt()
            heard.clear()

    watcher = threading.Thread(target=watch, name="interrupts", daemon=True)
    fd_before = signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, hear)
    watcher.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(fd_before, warn_on_full_buffer=False)
        heard.set()
        teller.close()
        watcher.join()
        told.close()
