"""Seconds, bytes, and the machine they were measured on.

Every measurement runs in a process of its own: thread pools can't be resized once they have started, and a peak of
memory can't be told from what an engine before it has left behind.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]

MIB = 1 << 20
_MEMORY_STATUS = Path("/proc/self/status")
_PEAK_RESET = Path("/proc/self/clear_refs")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_QUIET_SECONDS = 4.0
QUIET_CORES = 0.15
"""Of all cores, what others may use in a measurement that is not repeated."""

_PACKAGES = ("featdex", "torch", "numpy", "scipy", "numba", "sae-lens", "gseapy", "decoupler", "pandas")


class Measured(NamedTuple):
    """Seconds of every repeat, and bytes above what the process held before the first one (None: not to be had)."""

    wall: list[float]
    cpu: list[float]
    extra_bytes: int | None

    def record(self) -> Record:
        """Return medians and best values, and how many cores were busy: well under the threads, others had them."""
        wall, cpu = statistics.median(self.wall), statistics.median(self.cpu)
        return {
            "repeats": len(self.wall),
            "wall_seconds": wall,
            "wall_seconds_best": min(self.wall),
            "cpu_seconds": cpu,
            "cpu_seconds_best": min(self.cpu),
            "busy_cores": cpu / wall,
            "extra_bytes": self.extra_bytes,
        }


def measure(call: Callable[[], object], repeats: int) -> Measured:
    """Time `call`, which the caller has warmed up; the first repeat also tells its peak of memory."""
    wall, cpu = [], []
    gc.collect()
    before = _start_peak()
    extra = None
    for repeat in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        call()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
        if repeat == 0 and before is not None:
            extra = max(_memory("VmHWM") - before, 0)
    return Measured(wall, cpu, extra)


def _start_peak() -> int | None:
    """Set the kernel's peak of this process back to what it holds now, and return that; None where it can't be."""
    try:
        _PEAK_RESET.write_text("5")
        return _memory("VmRSS")
    except OSError:
        return None


def _memory(field: str) -> int:
    lines = _MEMORY_STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def run_task(script: Path, task: Record, threads: int, patience: Patience | None = None) -> Record:
    """Run `script --task JSON` with that many threads; return the JSON of its last line, and how busy others were.

    Given patience, wait for other processes to leave the cores, and measure again what they came back to disturb.

    Raises:
        RuntimeError: The process failed; the message ends with its last words.
    """
    results: list[Record] = []
    while True:
        if patience:
            patience.wait_for_quiet()
        watch = _Watch()
        results.append(_run_once(script, task, threads) | {"load_average": load_average(), "other_cores": watch.stop()})
        others = [result["other_cores"] or 0.0 for result in results]
        if not patience or others[-1] < QUIET_CORES or patience.is_over():
            return results[others.index(min(others))]


def _run_once(script: Path, task: Record, threads: int) -> Record:
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
    command = [sys.executable, str(script), "--task", json.dumps(task | {"threads": threads})]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last_words = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{task} ended with status {done.returncode}: {last_words}")
    result: Record = json.loads(done.stdout.strip().splitlines()[-1])
    return result


class Patience:
    """How long a benchmark may wait, in all, for other processes to leave the machine alone."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def is_over(self) -> bool:
        """Tell whether no more waiting is allowed."""
        return time.monotonic() >= self._end

    def wait_for_quiet(self) -> None:
        """Return when others have left the cores for some seconds, or when patience is over."""
        while not self.is_over():
            watch = _Watch()
            time.sleep(_QUIET_SECONDS)
            if (watch.stop() or 0.0) < QUIET_CORES:
                return


class _Watch:
    """Tells how many cores others kept busy since it was made; None where the system does not say."""

    def __init__(self) -> None:
        self._busy, self._own, self._start = _busy_seconds(), _own_seconds(), time.perf_counter()

    def stop(self) -> float | None:
        seconds = time.perf_counter() - self._start
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        return max(busy - self._busy - (_own_seconds() - self._own), 0.0) / seconds


def watch() -> _Watch:
    """Start to tell how busy others are: `stop()` gives the cores they used since."""
    return _Watch()


def _busy_seconds() -> float | None:
    """Return the seconds that all cores were not idle, those taken by a hypervisor included."""
    counters = Path("/proc/stat")
    if not counters.exists():
        return None
    user, nice, system, _idle, _waiting, *interrupts = map(int, counters.read_text().split("\n", 1)[0].split()[1:9])
    return float(user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> float | None:
    """Return the processes that wanted a core over the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def machine() -> Record:
    """Return what a reader needs to judge the numbers, and nothing that names this machine."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gib": round(_total_memory() / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := installed_version(name))},
        "load_average_at_start": load_average(),
    }


def installed_version(package: str) -> str | None:
    """Return the version of a distribution, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    pairs = dict(line.split(":", 1) for line in facts.read_text().splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in pairs.items()}
    family = f", family {known['cpu family']} model {known['model']}" if "cpu family" in known else ""
    simd = next((flag for flag in ("avx512f", "avx2") if flag in known.get("flags", "").split()), "")
    return f"{known.get('model name', platform.machine())}{family} {simd}".strip()


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table in plain text: the first column to the left, the rest to the right."""
    cells = [list(header)] + [[_text(value) for value in row] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([title, *(line.rstrip() for line in lines), ""])


def _text(value: object) -> str:
    """Three digits are what such measurements carry."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1e}"


def save(path: Path, results: Record, text: str) -> None:
    """Write the results as JSON to `path`, and the tables beside it as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
