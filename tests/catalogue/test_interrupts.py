"""Ctrl-C stops a query that would never end, whatever DuckDB is at when it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import duckdb
import pytest
from featdex.catalogue.interrupts import interruptible

# A process started in the background ignores interrupts, so this one is told to heed them.
INTERRUPTED = """
import os, signal, sys, threading, time
import duckdb
from featdex.catalogue.file import translated
from featdex.catalogue.interrupts import interruptible

signal.signal(signal.SIGINT, signal.default_int_handler)
connection = duckdb.connect()
endless = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range + b.range = -1"
ways = [lambda: connection.execute(endless).fetchall(), lambda: list(connection.sql(endless).limit(9).iter_rows())]
with interruptible(connection):
    for way in ways:
        for delay in (0.0, 0.001, 0.005, 0.02, 0.4):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                with translated():
                    way()
            except KeyboardInterrupt:
                print("stopped", flush=True)
            timer.join()
            # The next query is none of its business.
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.set_wakeup_fd(-1) == -1
"""


def test_an_interrupt_stops_an_endless_query_at_any_time() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "stopped\n" * 10)


@pytest.mark.parametrize("where", ["another thread", "ignored"])
def test_elsewhere_nothing_changes(where: str) -> None:
    found = []

    def look() -> None:
        with duckdb.connect() as connection, interruptible(connection):
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    if where == "ignored":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        look()
        signal.signal(signal.SIGINT, before)
        assert found == [signal.SIG_IGN]
    else:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert found == [before]
