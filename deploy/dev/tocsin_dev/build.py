"""cargo, with its progress."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

from . import places
from .say import Failure, Step, line, step

# Where nobody draws a progress bar, one line in this many seconds says that it goes on.
REPORT_EVERY = 15.0


def programs(
    release: bool,
    packages: tuple[str, ...] = ("tocsin", "tocsin-testkit"),
    target: Optional[Path] = None,
    environment: Optional[dict[str, str]] = None,
) -> Path:
    """Builds the programs of `packages`; returns the folder that holds them."""
    target = target or places.target()
    flags = [word for package in packages for word in ("-p", package)]
    if release:
        flags.append("--release")
    with step(f"build {' and '.join(packages)}{' (release)' if release else ''}") as current:
        cargo(["build", "--bins", "--target-dir", str(target), *flags], current, environment=environment)
    return target / ("release" if release else "debug")


def cargo(arguments: list[str], current: Step, folder: Path = places.ROOT, environment: Optional[dict[str, str]] = None) -> None:
    if sys.stderr.isatty():
        code = subprocess.run(["cargo", *arguments], cwd=folder, env=environment).returncode
        said = "the compiler's messages are above"
    else:
        code, said = _quietly(arguments, current, folder, environment)
    if code != 0:
        raise Failure(f"cargo {' '.join(arguments)} ended with {code}\n{said}")


def _quietly(arguments: list[str], current: Step, folder: Path, environment: Optional[dict[str, str]]) -> tuple[int, str]:
    command = ["cargo", *arguments, "--color=never"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
    said: list[str] = []
    compiled = 0
    reported = time.monotonic()
    assert process.stderr is not None
    for text in process.stderr:
        if re.match(r"\s+(Compiling|Checking) ", text):
            compiled += 1
        elif not re.match(r"\s+(Downloaded|Downloading|Updating|Blocking|Locking|Fresh|Finished)\b", text):
            said.append(text)
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            line(f"        {compiled} crates so far, {current.seconds():.0f} s")
    if compiled:
        current.note(f"{compiled} crates")
    return process.wait(), "".join(said[-60:]).rstrip()


