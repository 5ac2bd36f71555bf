"""Processes that we started: pid files that survive us, and proof that a pid still is ours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Optional

from . import places

# Services get 20 s to finish work in hand (SHUTDOWN_GRACE) and 2 s for their hard stop.
STOP_LIMIT = 25.0
# SIGKILL needs no cooperation; longer means that the kernel is stuck.
KILL_LIMIT = 5.0
POLL = 0.05


def started_at(pid: int) -> Optional[str]:
    """When the process began, which tells it from a later one with the same pid; None when there is none."""
    try:
        # The fields after the name in parentheses, which may hold spaces: state is the first, start time the 20th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        if os.path.isdir("/proc/self"):
            return None
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout
    state, _, start = shown.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def remember(name: str, pid: int) -> None:
    """`run/<name>.pid` holds the pid alone, for anybody; `run/<name>.started` is for us."""
    (places.RUN / f"{name}.started").write_text(started_at(pid) or "")
    (places.RUN / f"{name}.pid").write_text(f"{pid}\n")


def forget(name: str) -> None:
    for suffix in ("pid", "started"):
        (places.RUN / f"{name}.{suffix}").unlink(missing_ok=True)


def running(name: str) -> Optional[int]:
    """The pid of `name` if that very process still runs."""
    try:
        pid = int((places.RUN / f"{name}.pid").read_text())
        start = (places.RUN / f"{name}.started").read_text()
    except (OSError, ValueError):
        return None
    return pid if start and started_at(pid) == start else None


def remembered() -> list[str]:
    return sorted(path.stem for path in places.RUN.glob("*.pid"))


def stop(name: str, how: int = signal.SIGTERM, limit: float = STOP_LIMIT) -> Optional[str]:
    """Ends `name` if it is ours, harder when it does not hear; says how, or None when it did not run."""
    pid = running(name)
    said = None
    if pid is not None:
        said = "stopped"
        _signal(pid, how)
        if not _gone(name, limit):
            said = f"killed: it did not stop within {limit:.0f} s"
            _signal(pid, signal.SIGKILL)
            _gone(name, KILL_LIMIT)
    forget(name)
    return said


def _gone(name: str, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if running(name) is None:
            return True
        time.sleep(POLL)
    return False


def _signal(pid: int, how: int) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass
