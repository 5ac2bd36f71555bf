"""nats-server and PostgreSQL on private data folders: how they are set up and started."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Optional
from urllib.error import URLError
from urllib.request import urlopen

from . import places, tools
from .say import Failure
from .settings import Settings, is_free

ROLE = "tocsin"
DATABASE = "tocsin"
# Recovery of JetStream or of the write-ahead log on a slow disk; usually under a second.
READY_LIMIT = 30.0
POLL = 0.05


def nats_config(settings: Settings) -> Path:
    """Writes the server's configuration: JetStream on our folder, the users and permissions of deploy/nats."""
    path = places.STATE / "nats.conf"
    accounts = os.path.relpath(places.ROOT / "deploy" / "nats" / "accounts.conf", places.STATE)
    path.write_text(
        f"""# Written by ./dev up.
server_name: tocsin-dev
listen: "127.0.0.1:{settings.port('TOCSIN_NATS_PORT')}"
http: "127.0.0.1:{settings.port('TOCSIN_NATS_MONITORING_PORT')}"
jetstream {{
  store_dir: "{places.STATE / 'nats'}"
  # Streams reserve their byte limits, all together more than most disks of developers have free.
  max_file_store: 1TB
}}
include {accounts}
"""
    )
    return path


def nats_users() -> dict[str, str]:
    """The public user keys that accounts.conf takes from the environment."""
    users = {}
    for path in places.KEYS.glob("*.nkpub"):
        name = path.stem.upper().replace("-", "_")
        users[f"TOCSIN_NKEY_{name}"] = path.read_text().strip()
    return users


class Postgres:
    """A private cluster in `home`. Started by root it runs as `nobody`, for PostgreSQL refuses to run as root."""

    def __init__(self, home: Path, programs: Path):
        self.home = home
        self.prefix = _as_nobody() if os.geteuid() == 0 else []
        self.programs = _reachable(programs, self.prefix)
        self.data = home / "data"

    @staticmethod
    def home_for_development() -> Path:
        home = places.outside() / "postgres" if os.geteuid() == 0 else places.STATE / "postgres"
        places.POSTGRES_HOME_FILE.write_text(f"{home}\n")
        return home

    def create(self, password: str) -> bool:
        """Makes the cluster with the database `tocsin` if it is not there; whether it did."""
        if self.data.exists():
            self._check_version()
            return False
        self.home.mkdir(parents=True, exist_ok=True)
        if self.prefix:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
        fresh = self.home / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        with tempfile.NamedTemporaryFile("w", dir=self.home) as secret:
            secret.write(password)
            secret.flush()
            os.chmod(secret.name, 0o644 if self.prefix else 0o600)
            # fmt: off
            self._run("initdb", "-D", str(fresh), "--username", ROLE, f"--pwfile={secret.name}", "--auth=scram-sha-256",
                      "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync")
            # fmt: on
        self._run("postgres", "--single", "-D", str(fresh), "postgres", stdin=f"create database {DATABASE};\n")
        fresh.rename(self.data)
        return True

    def _check_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        said = subprocess.run([str(self.programs / "postgres"), "--version"], capture_output=True, text=True).stdout
        if said and f" {made_by}." not in said:
            raise Failure(
                f"the data in {self.data} was made by PostgreSQL {made_by}, and this is {said.strip()}",
                "put that version on PATH (or its folder into POSTGRES_BIN_DIR), or start afresh: ./dev reset",
            )

    def command(self, port: int, *more: str) -> list[str]:
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "log_min_messages=warning", *more]
        flags = [word for option in options for word in ("-c", option)]
        return [*self.prefix, str(self.programs / "postgres"), "-D", str(self.data), "-p", str(port), *flags]

    def is_ready(self, port: int) -> bool:
        said = subprocess.run([str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)])
        return said.returncode == 0

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        command = [*self.prefix, str(self.programs / program), *arguments]
        done = subprocess.run(command, cwd=self.home, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure(f"{program} failed:\n{done.stdout.strip()}", "set DATABASE_URL to a running PostgreSQL to do without")


class TestPostgres:
    """One server for a whole test run: nothing is synced, and everything is removed at the end."""

    def __enter__(self) -> str:
        self.home = Path(tempfile.mkdtemp(prefix="tocsin-run-"))
        self.home.chmod(0o755)
        try:
            return self._start()
        except BaseException:
            shutil.rmtree(self.home, ignore_errors=True)
            raise

    def _start(self) -> str:
        server = Postgres(self.home, tools.postgres_programs())
        server.create("tests")
        port = next(port for port in range(54330, 55330) if is_free(port))
        # Every test of the run opens a pool; nothing here needs to survive a power cut.
        fast = ("fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB")
        self.log = open(self.home / "log", "wb")
        self.process = subprocess.Popen(
            server.command(port, *fast), cwd=self.home, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )
        try:
            until("PostgreSQL for the tests", lambda: server.is_ready(port), self.home / "log")
        except Failure:
            self.__exit__()
            raise
        return f"postgres://{ROLE}:tests@127.0.0.1:{port}/postgres"

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def until(what: str, condition: Callable[[], bool], log: Path, limit: float = READY_LIMIT, alive: Optional[Callable[[], bool]] = None) -> None:
    """Waits for a condition; at the end of its patience it shows the log."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if condition():
            return
        if alive and not alive():
            break
        time.sleep(POLL)
    raise Failure(f"{what} is not ready after {limit:.0f} s; the end of {log}:\n{tail(log)}", "the whole log: ./dev logs")


def tail(log: Path, lines: int = 15) -> str:
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return "(no log)"
    return "\n".join(f"  | {line}" for line in text)


def reachable_programs() -> Path:
    """The folder of PostgreSQL's programs for tests that start servers of their own."""
    return _reachable(tools.postgres_programs(), _as_nobody() if os.geteuid() == 0 else [])


def _as_nobody() -> list[str]:
    if not shutil.which("setpriv"):
        raise Failure(
            "PostgreSQL does not run as root, and there is no setpriv (util-linux) to run it as `nobody`",
            "run ./dev as another user, or set DATABASE_URL to a running PostgreSQL",
        )
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--"]


def _reachable(programs: Path, prefix: list[str]) -> Path:
    """Programs that the server's user may execute: a copy when they are inside a folder closed to it, such as /root."""
    # Through a shell: setpriv itself still has root's right to look anywhere.
    if not prefix or subprocess.run([*prefix, "sh", "-c", 'test -x "$0"', str(programs / "postgres")]).returncode == 0:
        return programs
    installed = programs.parent
    package = installed.parent
    copy = places.outside() / "programs" / package.name / installed.name
    if not copy.exists():
        fresh = copy.with_name(copy.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(installed, fresh, symlinks=True)
        # A wheel keeps the libraries that it brings in a folder beside the package's.
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, places.outside() / "programs" / libraries.name, symlinks=True, dirs_exist_ok=True)
        fresh.rename(copy)
    return copy / programs.name
