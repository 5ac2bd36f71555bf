"""What a person sees: one line per step, with its time, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time


class Failure(Exception):
    """Something a person has to know. `what` happened; `do` is what to do about it."""

    def __init__(self, what: str, do: str = ""):
        super().__init__(what)
        self.what = what
        self.do = do


def line(text: str = "") -> None:
    print(text, flush=True)


def error(failure: Failure) -> None:
    print(f"\n{_paint('31', 'error')}: {failure.what}", file=sys.stderr)
    if failure.do:
        print(f"       {failure.do}", file=sys.stderr)
    sys.stderr.flush()


def warn(text: str) -> None:
    line(f"  {_paint('33', 'note')}  {text}")


def _paint(code: str, text: str) -> str:
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\033[{code}m{text}\033[0m" if coloured else text


class Step:
    """A step in progress; `note` adds what came of it to its closing line."""

    # A step that takes longer than this says so once, so that nobody thinks it hangs.
    SLOW = 3.0

    def __init__(self, title: str):
        self.title = title
        self.notes: list[str] = []
        self.started = time.monotonic()
        self._timer = threading.Timer(self.SLOW, lambda: line(f"  {_paint('2', '...')}   {title}"))
        self._timer.daemon = True

    def note(self, text: str) -> None:
        self.notes.append(text)

    def seconds(self) -> float:
        return time.monotonic() - self.started


@contextlib.contextmanager
def step(title: str):
    """Prints `ok <title>  <notes>  <seconds>` when the block ends, or `no` when it fails."""
    current = Step(title)
    current._timer.start()
    try:
        yield current
    except BaseException:
        current._timer.cancel()
        line(f"  {_paint('31', 'no')}    {title}  {current.seconds():.1f} s")
        raise
    current._timer.cancel()
    notes = f"  {_paint('2', ', '.join(current.notes))}" if current.notes else ""
    line(f"  {_paint('32', 'ok')}    {title}{notes}  {current.seconds():.1f} s")


def table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
