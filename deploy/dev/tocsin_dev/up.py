"""`./dev up`: from a checkout to a finished investigation."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

from . import build, places, processes, servers, settings, supervisor, tools
from .say import Failure, line, step, warn
from .settings import Settings

# A service connects, reads its snapshots and listens; cold, under two seconds.
SERVICE_LIMIT = 60.0
# The demo's investigation with a real model may take a few minutes.
INVESTIGATION_LIMIT = 300.0
WORKERS = ("worker-1", "worker-2")
IN_ONE_PROCESS = "ingress,router,config,audit"
EVENT_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def up(release: bool, demo: bool) -> Settings:
    """Builds and starts whatever does not run yet; running twice changes nothing."""
    started = time.monotonic()
    tools.need_cargo()
    places.prepare()
    with _alone():
        programs = build.programs(release)
        chosen = settings.choose()
        _say_what_is_real(chosen)
        _make_keys(chosen, programs)
        infrastructure = _start_infrastructure(chosen, programs)
        _declare(chosen, programs)
        _start_services(chosen, programs, infrastructure)
        event = _demonstrate(chosen, programs) if demo else None
    _where_to_look(chosen, event, time.monotonic() - started)
    return chosen


class _alone:
    """One `./dev up` at a time in one checkout."""

    def __enter__(self):
        self.file = open(places.STATE / "lock", "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure("another `./dev up` is at work in this checkout", "wait for it, or end it") from None

    def __exit__(self, *_):
        self.file.close()


def _say_what_is_real(chosen: Settings) -> None:
    line("  model       " + ("the real one: OPENAI_API_KEY is set" if chosen.real_model else "a stand-in (set OPENAI_API_KEY for a real one)"))
    line("  Slack       " + ("the real one: SLACK_BOT_TOKEN is set" if chosen.real_slack else "a stand-in (set SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET for a real one)"))
    if not chosen.own_nats:
        warn("NATS_URL is set: no nats-server is started; that one needs the users of deploy/nats/accounts.conf with the keys in .tocsin/keys")
    if not chosen.own_postgres:
        warn("DATABASE_URL is set: no PostgreSQL is started")


def _make_keys(chosen: Settings, programs: Path) -> None:
    with step("keys: the root, a master key, one signing key and one NATS user per service") as current:
        existed = (places.KEYS / "root.pub").exists()
        tocsin(chosen, programs, "keys", "init", "--dir", str(places.KEYS))
        places.KEYS.chmod(0o700)
        current.note("kept" if existed else "made in .tocsin/keys")


def _start_infrastructure(chosen: Settings, programs: Path) -> list[dict[str, Any]]:
    plan: list[dict[str, Any]] = []
    waits = []
    if chosen.own_nats:
        plan.append(_nats(chosen))
        monitoring = chosen.url("TOCSIN_NATS_MONITORING_PORT") + "/healthz"
        waits.append(("nats", lambda: servers.answers(monitoring), chosen.kept["NATS_URL"]))
    if chosen.own_postgres:
        postgres = servers.Postgres(servers.Postgres.home_for_development(), tools.postgres_programs())
        with step("PostgreSQL has its data folder") as current:
            created = postgres.create(chosen.kept["TOCSIN_POSTGRES_PASSWORD"])
            current.note(f"{'made' if created else 'kept'} in {postgres.home}")
        port = chosen.port("TOCSIN_POSTGRES_PORT")
        plan.append(_spec("postgres", postgres.command(port), _plain(), stop=signal.SIGINT, directory=postgres.home))
        waits.append(("postgres", lambda: postgres.is_ready(port), f"127.0.0.1:{port}"))
    if chosen.standins:
        plan.append(_standins(chosen, programs))
        page = chosen.url("TOCSIN_SLACK_PORT") + "/"
        waits.append(("standins", lambda: servers.answers(page), page))
    # What runs already stays in the plan, or the supervisor would stop it while the rest starts.
    ours = {spec["name"] for spec in plan}
    later = [spec for spec in supervisor.read_plan() if spec["name"] in ("services", *WORKERS) and spec["name"] not in ours]
    alive = supervisor.ensure_with(plan + (later if processes.running(supervisor.NAME) else []))
    for name, ready, where in waits:
        with step(f"{name} is ready") as current:
            servers.until(name, ready, places.LOGS / f"{name}.log", alive=alive)
            current.note(where)
    return plan


def _nats(chosen: Settings) -> dict[str, Any]:
    config = servers.nats_config(chosen)
    environment = {**_plain(), **servers.nats_users()}
    accounts = (places.ROOT / "deploy" / "nats" / "accounts.conf").read_bytes()
    command = [str(tools.nats_server()), "--config", str(config)]
    return _spec("nats", command, environment, watched=config.read_bytes() + accounts + repr(sorted(servers.nats_users().items())).encode())


def _standins(chosen: Settings, programs: Path) -> dict[str, Any]:
    command = [str(programs / "tocsin-standins"), "--ingress-url", chosen.kept["INGRESS_URL"]]
    for flag, port in (("slack", "TOCSIN_SLACK_PORT"), ("prometheus", "TOCSIN_PROMETHEUS_PORT"), ("model", "TOCSIN_MODEL_PORT")):
        command += [f"--{flag}-listen", f"127.0.0.1:{chosen.port(port)}"]
    # Slow enough that a person can watch the steps and kill the worker between two of them.
    command += ["--model-delay", os.environ.get("TOCSIN_MODEL_DELAY", "600ms")]
    for worker in WORKERS:
        command += ["--worker", f"{worker}={places.RUN / worker}.pid"]
    return _spec("standins", command, chosen.environment(), program=programs / "tocsin-standins")


def _declare(chosen: Settings, programs: Path) -> None:
    with step("streams, consumers, buckets and public keys are declared"):
        tocsin(chosen, programs, "bus", "declare")
        tocsin(chosen, programs, "keys", "publish", "--dir", str(places.KEYS))


def _start_services(chosen: Settings, programs: Path, infrastructure: list[dict[str, Any]]) -> None:
    program = programs / "tocsin"
    ports = {"services": "TOCSIN_SERVICES_HEALTH_PORT", "worker-1": "TOCSIN_WORKER_1_HEALTH_PORT", "worker-2": "TOCSIN_WORKER_2_HEALTH_PORT"}
    plan = list(infrastructure)
    for name, port in ports.items():
        # The workers are processes of their own, so that one can be killed and the other takes over.
        command = [str(program), "agent-worker"] if name in WORKERS else [str(program), "up", "--only", IN_ONE_PROCESS]
        environment = chosen.environment(INSTANCE=name, WORKER_NAME=name, METRICS_LISTEN=f"127.0.0.1:{chosen.port(port)}")
        plan.append(_spec(name, command, environment, program=program))
    alive = supervisor.ensure_with(plan)
    for name, port in ports.items():
        with step(f"{name} {'is' if name in WORKERS else f'({IN_ONE_PROCESS}) are'} ready") as current:
            url = chosen.url(port) + "/ready"
            servers.until(name, lambda: processes.running(name) is not None and servers.answers(url), places.LOGS / f"{name}.log", SERVICE_LIMIT, alive)
            current.note(f"pid {processes.running(name)}")


def _demonstrate(chosen: Settings, programs: Path) -> Optional[str]:
    with step("organisation `demo` with team `checkout`"):
        tocsin(chosen, programs, "demo", "seed")
    with step("send one signed PagerDuty webhook") as current:
        said = tocsin(chosen, programs, "send", "pagerduty", "--title", "Checkout error rate above 5 %")
        found = EVENT_ID.search(said)
        if not found:
            raise Failure(f"`tocsin send` printed no event id:\n{said}")
        current.note(f"event {found.group()}")
    with step("its investigation is finished"):
        life = tocsin(chosen, programs, "events", "show", found.group(), "--wait", limit=INVESTIGATION_LIMIT)
    line()
    line(life.rstrip())
    return found.group()


def tocsin(chosen: Settings, programs: Path, *arguments: str, limit: float = 60.0) -> str:
    """Runs a command of the operator's CLI; returns what it printed."""
    command = [str(programs / "tocsin"), *arguments]
    shown = f"`tocsin {' '.join(arguments)}`"
    try:
        done = subprocess.run(command, env=chosen.environment(), cwd=places.ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as slow:
        said = (slow.stderr or b"").decode(errors="replace").strip()
        raise Failure(f"{shown} did not end within {limit:.0f} s\n{said}", "see ./dev status and ./dev logs") from None
    if done.returncode != 0:
        raise Failure(f"{shown} ended with {done.returncode}\n{done.stderr.strip()}", "see ./dev status and ./dev logs")
    return done.stdout


def _where_to_look(chosen: Settings, event: Optional[str], seconds: float) -> None:
    line()
    line(f"Tocsin is up ({seconds:.1f} s). Where to look:")
    if not chosen.real_slack:
        line(f"  Slack (stand-in)   {chosen.url('TOCSIN_SLACK_PORT')}/   with Fire alert and Kill the worker")
    line(f"  ingress            {chosen.url('TOCSIN_INGRESS_PORT')}/webhooks/pagerduty")
    line(f"  config             {chosen.url('TOCSIN_CONFIG_PORT')}/")
    line(f"  nats-server        {chosen.kept['NATS_URL']}" + (f"   monitoring {chosen.url('TOCSIN_NATS_MONITORING_PORT')}/" if chosen.own_nats else ""))
    line("Things to try:")
    line("  ./dev tocsin send pagerduty --title 'Payments are slow'")
    line("  ./dev tocsin events ls")
    if event:
        line(f"  ./dev tocsin events show {event}")
    line("  ./dev nats sub --translate 'tocsin decode' 'events.>'")
    line("  ./dev nats stream ls        ./dev nats consumer report WORK        ./dev nats micro ls")
    line("  ./dev status   ./dev logs   ./dev down")


def _plain() -> dict[str, str]:
    """For servers of somebody else's making: nothing of ours, no secrets of the shell that started us."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}


# fmt: off
def _spec(name: str, command: list[str], environment: dict[str, str], *, program: Optional[Path] = None, watched: bytes = b"",
          stop: int = signal.SIGTERM, directory: Path = places.ROOT) -> dict[str, Any]:
    # fmt: on
    """One process of the plan. It is replaced when its command, its settings, its program or `watched` change."""
    if program:
        stat = program.stat()
        watched += f"{stat.st_mtime_ns} {stat.st_size}".encode()
    # A server of somebody else's making is not restarted because this shell has other variables.
    relevant = environment if program else {}
    marked = json.dumps([command, sorted(relevant.items())]).encode() + watched
    return {
        "name": name,
        "command": command,
        "env": environment,
        "directory": str(directory),
        "log": str(places.LOGS / f"{name}.log"),
        "stop": int(stop),
        "fingerprint": hashlib.sha256(marked).hexdigest(),
    }


def follow() -> None:
    """Shows restarts, warnings and errors of all processes until Ctrl-C."""
    line("\nShowing warnings, errors and restarts; Ctrl-C stops everything (`./dev up --detach` leaves it running).")
    positions = {path: path.stat().st_size for path in places.LOGS.glob("*.log")}
    while processes.running(supervisor.NAME):
        for path in sorted(places.LOGS.glob("*.log")):
            positions[path] = _show_new(path, positions.get(path, 0))
        time.sleep(0.3)
    raise Failure("the supervisor has ended", "see .tocsin/logs/supervisor.log; ./dev down cleans up")


def _show_new(path: Path, position: int) -> int:
    with open(path, "rb") as log:
        log.seek(position)
        text = log.read()
    whole, newline, _ = text.rpartition(b"\n")
    if not newline:
        return position
    for entry in whole.decode(errors="replace").splitlines():
        plain = re.sub(r"\x1b\[[0-9;]*m", "", entry)
        if path.stem == supervisor.NAME or re.search(r"\b(WARN|ERROR|FATAL|PANIC|panicked)\b|\[(WRN|ERR|FTL)\]", plain):
            line(f"{path.stem:>10}  {plain}")
    return position + len(whole) + 1
