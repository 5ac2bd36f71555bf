"""The settings of everything that runs: ports, secrets, identities. Kept in `.tocsin/env`, mode 600."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from dataclasses import dataclass
from typing import Optional

from . import places, processes
from .say import warn

# Name in the env file, default port, the process that listens there.
PORTS = [
    ("TOCSIN_NATS_PORT", 4222, "nats"),
    ("TOCSIN_NATS_MONITORING_PORT", 8222, "nats"),
    ("TOCSIN_POSTGRES_PORT", 54329, "postgres"),
    ("TOCSIN_INGRESS_PORT", 8080, "services"),
    ("TOCSIN_CONFIG_PORT", 8082, "services"),
    ("TOCSIN_SERVICES_HEALTH_PORT", 8180, "services"),
    ("TOCSIN_WORKER_1_HEALTH_PORT", 8181, "worker-1"),
    ("TOCSIN_WORKER_2_HEALTH_PORT", 8182, "worker-2"),
    ("TOCSIN_SLACK_PORT", 8090, "standins"),
    ("TOCSIN_PROMETHEUS_PORT", 8091, "standins"),
    ("TOCSIN_MODEL_PORT", 8092, "standins"),
]
# Made once and kept, so that a restart changes nothing; the environment's own values win and are kept too.
SECRETS = [
    "SLACK_SIGNING_SECRET",
    "PAGERDUTY_WEBHOOK_SECRET",
    "GITHUB_WEBHOOK_SECRET",
    "ADMIN_TOKEN",
    "TOKEN_PEPPER",
    "INTERNAL_SERVICE_SECRET",
    "TOCSIN_POSTGRES_PASSWORD",
]
# What a person may set for one run; never written to a file of ours but the supervisor's plan (mode 600).
PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "NO_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE")
# fmt: off
PASSED_ON_PREFIXES = ("LOG_", "RUST_", "HTTP_", "OUTBOUND_", "OPENAI_", "ANTHROPIC_", "SLACK_", "GITHUB_", "PAGERDUTY_", "DATABASE_MAX", "MODEL", "RUN_", "ROUTER_", "INGRESS_", "WORKER_", "SHUTDOWN_", "PROMETHEUS_")
# fmt: on


@dataclass
class Settings:
    """`kept` is the env file; `run` is added to it for the processes of this run."""

    kept: dict[str, str]
    run: dict[str, str]
    own_nats: bool
    own_postgres: bool
    real_model: bool
    real_slack: bool

    def port(self, name: str) -> int:
        return int(self.kept[name])

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port(name)}"

    @property
    def standins(self) -> bool:
        return not (self.real_model and self.real_slack and _given("PROMETHEUS_URL"))

    def environment(self, **more: str) -> dict[str, str]:
        passed = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}
        return {**passed, **self.kept, **self.run, **more}


def load() -> dict[str, str]:
    """The env file as it is; empty before the first `./dev up`."""
    kept: dict[str, str] = {}
    try:
        lines = places.ENV_FILE.read_text().splitlines()
    except OSError:
        return kept
    for text in lines:
        name, equals, value = text.partition("=")
        if equals and not name.startswith("#"):
            kept[name] = "".join(shlex.split(value))
    return kept


def choose() -> Settings:
    """Decides everything for this run and writes the env file."""
    old = load()
    own_nats, nats_url = _server("NATS_URL", old)
    own_postgres, database_url = _server("DATABASE_URL", old)
    kept = {name: _port(name, default, process, old) for name, default, process in PORTS}
    for name in SECRETS:
        kept[name] = os.environ.get(name) or old.get(name) or secrets.token_hex(24)
    kept["NATS_URL"] = nats_url or f"nats://127.0.0.1:{kept['TOCSIN_NATS_PORT']}"
    kept["DATABASE_URL"] = database_url or (
        f"postgres://tocsin:{kept['TOCSIN_POSTGRES_PASSWORD']}@127.0.0.1:{kept['TOCSIN_POSTGRES_PORT']}/tocsin"
    )
    kept["TOCSIN_OWN_SERVERS"] = ",".join(name for name, own in (("NATS_URL", own_nats), ("DATABASE_URL", own_postgres)) if own)
    kept.update(identities())
    kept["INGRESS_LISTEN"] = f"127.0.0.1:{kept['TOCSIN_INGRESS_PORT']}"
    kept["INGRESS_URL"] = f"http://{kept['INGRESS_LISTEN']}"
    kept["CONFIG_LISTEN"] = f"127.0.0.1:{kept['TOCSIN_CONFIG_PORT']}"
    kept["CONFIG_URL"] = f"http://{kept['CONFIG_LISTEN']}"
    # One process writes each schema here, so it may bring its schema up to date itself.
    kept["MIGRATE"] = "true"
    chosen = Settings(
        kept,
        {},
        own_nats,
        own_postgres,
        real_model=_given("OPENAI_API_KEY") or _given("OPENAI_BASE_URL"),
        real_slack=_given("SLACK_BOT_TOKEN"),
    )
    chosen.run = _outside(chosen)
    save(kept)
    return chosen


def identities() -> dict[str, str]:
    """Key files; `{service}` is replaced by the service that reads it."""
    return {
        "SIGNING_KEY_FILE": str(places.KEYS / "{service}.key"),
        "SIGNING_ROOT_FILE": str(places.KEYS / "root.pub"),
        "SEALING_KEY_FILE": str(places.KEYS / "{service}.seal"),
        "MASTER_KEY_FILE": str(places.KEYS / "master.keys"),
        "NATS_NKEY_FILE": str(places.KEYS / "{service}.nk"),
        "KEY_DIRECTORY": str(places.KEYS),
    }


def save(kept: dict[str, str]) -> None:
    fresh = places.ENV_FILE.with_suffix(".new")
    fresh.touch(mode=0o600)
    head = "# Written by ./dev up. For a shell: set -a; . .tocsin/env; set +a\n"
    fresh.write_text(head + "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(kept.items())))
    fresh.replace(places.ENV_FILE)


def _outside(chosen: Settings) -> dict[str, str]:
    """Where the worker finds Slack, the model and Prometheus: the real ones when given, else the stand-ins."""
    found: dict[str, str] = {}
    if not chosen.real_slack:
        found["SLACK_API_URL"] = chosen.url("TOCSIN_SLACK_PORT") + "/api"
        found["SLACK_BOT_TOKEN"] = "xoxb-stand-in"
    if not chosen.real_model:
        found["OPENAI_BASE_URL"] = chosen.url("TOCSIN_MODEL_PORT") + "/v1"
        found["OPENAI_API_KEY"] = "stand-in"
    found["PROMETHEUS_URL"] = os.environ.get("PROMETHEUS_URL") or chosen.url("TOCSIN_PROMETHEUS_PORT")
    # The stand-ins are on the loopback address, which the SSRF guard refuses otherwise.
    found["OUTBOUND_ALLOW"] = os.environ.get("OUTBOUND_ALLOW") or "127.0.0.1/32"
    return found


def _given(name: str) -> bool:
    return bool(os.environ.get(name))


def _server(name: str, old: dict[str, str]) -> tuple[bool, Optional[str]]:
    """Whether we start that server, and else its URL. A shell that has read our env file names our own."""
    given = os.environ.get(name)
    if not given:
        return True, None
    if given == old.get(name) and name in old.get("TOCSIN_OWN_SERVERS", "").split(","):
        return True, None
    return False, given


def _port(name: str, default: int, process: str, old: dict[str, str]) -> str:
    wanted = int(os.environ.get(name) or old.get(name) or default)
    if processes.running(process) or is_free(wanted):
        return str(wanted)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    warn(f"port {wanted} is taken by another program; {process} gets {free} instead")
    return str(free)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a port whose old connections have not timed out yet counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
