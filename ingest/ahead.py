"""Reading weights ahead: the next dictionary loads while the one before it is computed."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Sequence

from .background import Task, Worker
from .inputs import FeatureDictionary

_STOP_SECONDS = 5.0


class Ahead:
    """Calls loaders in their order, each while its caller computes what the one before gave; never more than one.

    So two decoders are held at most, if the caller lets go of one before it takes the next. As a context, it ends a
    loader that nobody waits for any more.
    """

    def __init__(self, loaders: Sequence[Callable[[], FeatureDictionary]]) -> None:
        self._loaders = loaders
        self._n_taken = 0
        self._coming: Task[FeatureDictionary] | None = None
        self._worker = Worker("loader")
        self._shared_state = contextlib.ExitStack()

    def take(self) -> FeatureDictionary:
        """Return the next dictionary, and start to load the one after it.

        Raises:
            FeatdexError: Its loader failed; the next call goes on with the next one.
        """
        load = self._loaders[self._n_taken]
        self._n_taken += 1
        if self._coming is None:
            dictionary = load()
        else:
            self._coming.wait()
            coming, self._coming = self._coming, None
            dictionary = coming.result()
        if self._n_taken < len(self._loaders):
            self._coming = Task(self._loaders[self._n_taken])
            self._worker.give(self._coming)
        return dictionary

    def __enter__(self) -> Ahead:
        if len(self._loaders) > 1:
            # Loaders set the process's warning filters and stdout for themselves and put them back, and so does numba
            # while it compiles. In two threads the last to leave would put back what the other had set: here they find
            # what they would set, and in the end everything is as it was.
            self._shared_state.enter_context(warnings.catch_warnings())
            self._shared_state.enter_context(contextlib.redirect_stdout(sys.stdout))
            warnings.simplefilter("ignore")
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._shared_state:
            self._worker.interrupt(_STOP_SECONDS)
