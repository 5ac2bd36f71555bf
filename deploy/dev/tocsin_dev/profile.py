"""`./dev profile`: records what the services do, which release builds are then optimised for."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from . import build, check, places, tools
from .say import Failure, step

PROFILE = places.ROOT / "deploy" / "profile" / "tocsin.profdata"
# All services are in it; what it shows of them counts for their own programs too.
PACKAGES = ("tocsin",)


def profile(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev profile", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=int, default=60, help="how long the services work (60)")
    options = parser.parse_args(arguments)
    tools.need_cargo()
    places.prepare()
    merge = _llvm_profdata()
    target = places.target() / "profile"
    counts = target / "counts"
    shutil.rmtree(counts, ignore_errors=True)
    # Build scripts are built the same way, and theirs is nothing to record.
    # Ours, whatever else the environment names.
    recording = os.environ | {
        "RUSTC_WRAPPER": str(PROFILE.with_name("rustc")),
        "TOCSIN_PROFILE": str(counts),
        "LLVM_PROFILE_FILE": os.devnull,
    }
    instrumented = build.programs(True, PACKAGES, target, recording)
    plain = build.programs(False, ("tocsin-testkit", "tocsin-tests"))
    for name in ("tocsin-bench", "tocsin-standins"):
        shutil.copy2(plain / name, instrumented / name)
    arguments = ["profile", "--full-seconds", str(options.seconds)]
    if check.run_beside_servers(instrumented / "tocsin-bench", arguments, instrumented) != 0:
        raise Failure("the services did not get through their work", "what they printed is above")
    with step("write the profile") as current:
        found = sorted(counts.glob("*.profraw"))
        if not found:
            raise Failure(f"no process left a record in {counts}", "were they killed instead of ended?")
        tools.run([str(merge), "merge", "--sparse", "-o", str(PROFILE), *map(str, found)], "the counts could not be merged")
        current.note(f"{PROFILE.stat().st_size // 1024} KiB")
    # Cargo builds our crates again when this file changes, but not the libraries.
    shutil.rmtree(places.target() / "release" / ".fingerprint", ignore_errors=True)
    return 0


def _llvm_profdata() -> Path:
    """The tool of the toolchain's own version; counts of another LLVM cannot be read."""
    library = subprocess.run(["rustc", "--print", "target-libdir"], cwd=places.ROOT, capture_output=True, text=True)
    program = Path(library.stdout.strip()).parent / "bin" / "llvm-profdata"
    if library.returncode == 0 and program.exists():
        return program
    if not shutil.which("rustup"):
        raise Failure(f"there is no {program}", "install LLVM's tools of the version that rustc -vV names")
    with step("install llvm-tools, with which counts are read"):
        tools.run(["rustup", "component", "add", "llvm-tools"], "rustup could not add llvm-tools")
    return program
