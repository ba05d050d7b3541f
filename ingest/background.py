"""Work beside the main thread: how one dictionary is written, and another read, while a third is computed.

The interpreter waits for the threads of `concurrent.futures` before it ends, so that a second Ctrl-C could not leave
while a write waits for whoever holds the catalogue; these it does not wait for. And a thread takes a moment to start,
in which Ctrl-C would lose sight of it: here it has started long before there is something to lose.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Task(Generic[Result]):
    """A call that a worker makes, and what comes of it."""

    def __init__(self, call: Callable[[], Result]) -> None:
        self._call: Callable[[], Result] | None = call
        self._future: Future[Result] = Future()

    @property
    def is_over(self) -> bool:
        """Whether the call has been made."""
        return self._future.done()

    def wait(self) -> None:
        """Return when the call is over. Ctrl-C ends the waiting, not the call."""
        wait([self._future])

    def result(self) -> Result:
        """Return what the call returned, or raise what it raised, once it is over."""
        return self._future.result()

    def run(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        assert call is not None
        try:
            result = call()
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class Worker:
    """A thread that runs tasks one after the other, in the order in which they are given."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[Task[Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def give(self, task: Task[Any]) -> None:
        """Have a task run when those before it are over."""
        self._tasks.put(task)

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended: no task is over any more that is not yet."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def end(self) -> None:
        """Return when all tasks are over and the thread has ended. Ctrl-C ends the waiting, not the tasks."""
        self._tasks.put(None)
        self._thread.join()

    def interrupt(self, seconds: float) -> None:
        """Interrupt the task at work as Ctrl-C would, and wait up to `seconds` for the thread to end.

        Code that is not Python's, such as a read of a whole file, notices when it returns.
        """
        ident = self._thread.ident
        if ident is not None and self._thread.is_alive():
            # Before the last word, without which the thread can't end and leave its number to another.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt))
            self._tasks.put(None)
            self._thread.join(seconds)

    def _work(self) -> None:
        # It may be interrupted between two tasks as well.
        with suppress(KeyboardInterrupt):
            while (task := self._tasks.get()) is not None:
                task.run()
                # What it worked on is not to be held while there is nothing to do.
                del task
