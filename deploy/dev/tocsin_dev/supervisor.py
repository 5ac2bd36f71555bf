"""Keeps the processes of a plan running: `./dev up` writes the plan, this makes it so.

The plan is a list of {name, command, env, directory, log, stop, fingerprint}. A process that ends is started again
within a second; one whose fingerprint changed is replaced; one that left the plan is stopped. The supervisor runs in a
session of its own, so that it outlives the terminal, and ends with all its processes at SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable

from . import places, processes
from .say import Failure

NAME = "supervisor"
POLL = 0.1
# A process that ends sooner than this after its start is broken rather than killed: its restarts slow down.
HEALTHY_AFTER = 5.0
SLOWEST_RESTART = 5.0
# Replacing every process of a plan, when each takes its whole time to stop.
APPLY_LIMIT = 8 * processes.STOP_LIMIT
# Which plan has been followed, by its time of change.
APPLIED = places.RUN / "applied"


class Child:
    def __init__(self, spec: dict[str, Any]):
        self.spec = spec
        self.failures = 0
        self.next_start = 0.0
        self.process: Any = None
        self.started = 0.0

    def start(self) -> None:
        spec = self.spec
        with open(spec["log"], "ab") as log:
            try:
                self.process = subprocess.Popen(
                    spec["command"],
                    env=spec["env"],
                    cwd=spec["directory"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                say(f"{spec['name']} cannot start: {error}")
                self.failures += 1
                self.next_start = time.monotonic() + SLOWEST_RESTART
                return
        self.started = time.monotonic()
        processes.remember(spec["name"], self.process.pid)

    def tend(self) -> None:
        """Starts it when it is due, notices when it has ended."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.next_start:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        pid, name = self.process.pid, self.spec["name"]
        self.process = None
        healthy = now - self.started > HEALTHY_AFTER
        self.failures = 0 if healthy else self.failures + 1
        pause = 0.0 if self.failures <= 1 else min(0.5 * 2 ** (self.failures - 2), SLOWEST_RESTART)
        self.next_start = now + pause
        if pause == 0.0:
            self.start()
            again = f"started again as pid {self.process.pid}" if self.process else "could not start it again"
            say(f"{name} (pid {pid}) ended with {how}: {again}")
        else:
            say(f"{name} (pid {pid}) ended with {how}, {self.failures} times in a row: again in {pause:.1f} s")

    def stop(self) -> None:
        processes.stop(self.spec["name"], how=self.spec["stop"])
        if self.process is not None:
            self.process.wait()
            self.process = None


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run() -> int:
    """The supervisor's own process."""
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    signal.signal(signal.SIGINT, lambda *_: stopping.append(True))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    children: dict[str, Child] = {}
    stamp = None
    while not stopping:
        stamp = reconcile(children, stamp)
        for child in children.values():
            child.tend()
        if _applied() != str(stamp):
            APPLIED.write_text(str(stamp))
        time.sleep(POLL)
    for child in reversed(list(children.values())):
        child.stop()
    processes.forget(NAME)
    return 0


def reconcile(children: dict[str, Child], stamp: Any) -> Any:
    """Follows the plan; a plan that is being replaced is read at the next round."""
    try:
        now = os.stat(places.PLAN_FILE).st_mtime_ns
        if now == stamp:
            return stamp
        plan = json.loads(places.PLAN_FILE.read_text())
    except (OSError, ValueError):
        return stamp
    wanted = {spec["name"]: spec for spec in plan}
    for name in [name for name in children if name not in wanted]:
        say(f"{name} is no longer wanted")
        children.pop(name).stop()
    for name, spec in wanted.items():
        child = children.get(name)
        if child is None:
            children[name] = Child(spec)
        elif child.spec["fingerprint"] != spec["fingerprint"]:
            say(f"{name} has changed: replacing it")
            child.stop()
            children[name] = Child(spec)
    # Stopped in the reverse of this order.
    ordered = {name: children[name] for name in wanted}
    children.clear()
    children.update(ordered)
    return now


def ensure() -> bool:
    """Starts the supervisor unless it runs; whether it had to."""
    if processes.running(NAME):
        return False
    # A supervisor that was killed leaves its processes behind; ours are ended before new ones take their ports.
    for name in processes.remembered():
        processes.stop(name)
    with open(places.LOGS / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(places.ROOT / "dev"), "_supervise"],
            cwd=places.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    processes.remember(NAME, process.pid)
    return True


def ensure_with(plan: list[dict[str, Any]]) -> Callable[[], bool]:
    """Makes `plan` the one that is kept running; returns the question whether the supervisor still lives."""
    write_plan(plan)
    ensure()

    def is_alive() -> bool:
        return processes.running(NAME) is not None

    # Until then an old process that is about to be replaced may still answer.
    wanted = str(places.PLAN_FILE.stat().st_mtime_ns)
    deadline = time.monotonic() + APPLY_LIMIT
    while _applied() != wanted:
        if not is_alive() or time.monotonic() > deadline:
            raise Failure("the supervisor did not follow its plan", "see .tocsin/logs/supervisor.log; ./dev down, then ./dev up")
        time.sleep(processes.POLL)
    return is_alive


def _applied() -> str:
    try:
        return APPLIED.read_text()
    except OSError:
        return ""


def write_plan(plan: list[dict[str, Any]]) -> None:
    """In one step, so that the supervisor never reads half of it; for our eyes only: it holds secrets."""
    fresh = places.PLAN_FILE.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(plan, indent=1))
    fresh.replace(places.PLAN_FILE)


def read_plan() -> list[dict[str, Any]]:
    try:
        return json.loads(places.PLAN_FILE.read_text())
    except (OSError, ValueError):
        return []
