"""`./dev test`, `./dev lint`, `./dev bench`, `./dev chaos`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import Optional

from . import build, places, servers, tools
from .say import Failure, line, step, table


class Checks:
    """Runs checks to the end, so that one run shows all that is wrong."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.failed: list[str] = []

    def run(self, name: str, command: list[str], env: Optional[dict[str, str]] = None) -> None:
        line(f"\n== {name}: {' '.join(command)}")
        started = time.monotonic()
        code = subprocess.run(command, cwd=places.ROOT, env=env).returncode
        self.rows.append((name, "ok" if code == 0 else f"FAILED ({code})", f"{time.monotonic() - started:.1f} s"))
        if code != 0:
            self.failed.append(name)

    def skip(self, name: str, why: str) -> None:
        line(f"\n== {name}: SKIPPED, {why}")
        self.rows.append((name, "SKIPPED", why))

    def show(self) -> None:
        line()
        table(self.rows)
        line()

    def end(self) -> int:
        if self.failed:
            sys.stdout.flush()
            print(f"failed: {', '.join(self.failed)}", file=sys.stderr)
        return 1 if self.failed else 0


def lint() -> int:
    tools.need_cargo()
    checks = Checks()
    _lint(checks)
    checks.show()
    return checks.end()


def _lint(checks: Checks) -> None:
    checks.run("format", ["cargo", "fmt", "--all", "--check"])
    checks.run("clippy", ["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    if shutil.which("cargo-deny"):
        # Advisories come from the network and change without us: they must not break an old commit's tests.
        checks.run("cargo-deny", ["cargo", "deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
    else:
        checks.skip("cargo-deny", "it is not installed (cargo install --locked cargo-deny); the rules still check the banned crates")


def test(arguments: list[str]) -> int:
    """Everything; with arguments only the tests that they select, as `cargo nextest run` takes them."""
    tools.need_cargo()
    places.prepare()
    in_ci = bool(os.environ.get("CI"))
    environment = tools.environment()
    environment["NATS_SERVER_BIN"] = str(tools.nats_server())
    client = tools.python_with_nats(required=in_ci)
    if client:
        environment["TOCSIN_PYTHON"] = str(client)
    for name, installed in (
        ("TOCSIN_SIGNERS_PYTHON", tools.signers_python(required=in_ci)),
        ("TOCSIN_SIGNERS_NODE", tools.signers_node(required=in_ci)),
    ):
        if installed:
            environment[name] = str(installed)
    fuzzer = tools.schemathesis(required=in_ci)
    if fuzzer:
        environment["TOCSIN_SCHEMATHESIS"] = str(fuzzer)
        # Five minutes with its start and its report; at home a sample, unless TOCSIN_FUZZ_SECONDS says otherwise.
        line(f"  the API is fuzzed for {environment.get('TOCSIN_FUZZ_SECONDS') or ('240' if in_ci else '45')} s")
    runner = _runner(in_ci)
    if os.environ.get("DATABASE_URL") or os.environ.get("TOCSIN_TEST_DATABASE_URL"):
        line("  tests make their databases in the server of DATABASE_URL")
        return _test(arguments, runner, environment)
    environment["POSTGRES_BIN_DIR"] = str(servers.reachable_programs())
    with servers.TestPostgres() as url:
        environment["TOCSIN_TEST_DATABASE_URL"] = url
        return _test(arguments, runner, environment)


def _runner(in_ci: bool) -> list[str]:
    nextest = tools.nextest()
    if nextest:
        # Called by its path: it need not be on the person's PATH.
        return [nextest, "nextest", "run", "--workspace", *(["--profile", "ci"] if in_ci else [])]
    if in_ci:
        raise Failure("cargo-nextest is missing", "cargo install --locked cargo-nextest")
    return ["cargo", "test", "--workspace", "--all-targets", "--no-fail-fast"]


def _test(arguments: list[str], runner: list[str], environment: dict[str, str]) -> int:
    checks = Checks()
    if not arguments:
        _lint(checks)
        checks.run("signature vectors", [sys.executable, "crates/wire/vectors/verify.py"])
    # End-to-end tests start the programs as people do, so they have to be there.
    checks.run("programs", ["cargo", "build", "--workspace", "--bins"], environment)
    if not arguments:
        # Not for its figures, which mean nothing without optimisation: what is measured must work.
        folder = places.target() / "debug"
        smoke = environment | {"TOCSIN_BIN_DIR": str(folder)}
        checks.run("bench smoke", [str(folder / "tocsin-bench"), "--smoke"], smoke)
        checks.run("doc tests", ["cargo", "test", "--workspace", "--doc", "--quiet"], environment)
        checks.show()
    # Last, so that the run ends with the runner's own summary.
    if any(word in ("-p", "--package") or word.startswith(("-p=", "--package=")) for word in arguments):
        runner = [word for word in runner if word != "--workspace"]
    checks.run("tests", [*runner, *arguments], environment)
    return checks.end()


def measure(program: str, arguments: list[str]) -> int:
    """Builds everything for release and becomes the load generator or the chaos run."""
    tools.need_cargo()
    places.prepare()
    folder = build.programs(True, ("tocsin", "tocsin-testkit", "tocsin-tests", "tocsin-config"))
    return run_beside_servers(folder / program, arguments, folder)


def run_beside_servers(program: Path, arguments: list[str], programs: Path) -> int:
    """Runs `program`, which starts those in `programs`, with nats-server and PostgreSQL to be found."""
    if not program.exists():
        raise Failure(f"{program} was not built", "tests/Cargo.toml has to name that program")
    environment = tools.environment()
    environment["NATS_SERVER_BIN"] = str(tools.nats_server())
    environment["TOCSIN_BIN_DIR"] = str(programs)
    command = [str(program), *arguments]
    if os.environ.get("DATABASE_URL"):
        return subprocess.run(command, cwd=places.ROOT, env=environment).returncode
    environment["POSTGRES_BIN_DIR"] = str(servers.reachable_programs())
    with step("a PostgreSQL for this run") as current:
        shared = servers.TestPostgres()
        environment["TOCSIN_TEST_DATABASE_URL"] = shared.__enter__()
        current.note("nothing synced to disk")
    try:
        return subprocess.run(command, cwd=places.ROOT, env=environment).returncode
    finally:
        shared.__exit__()
