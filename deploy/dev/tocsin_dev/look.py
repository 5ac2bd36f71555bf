"""Looking at what runs, and ending it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Optional

from . import places, processes, servers, settings, supervisor, tools
from .say import Failure, line, step, table, warn

NATS_CLI = "github.com/nats-io/natscli/nats@latest"


def down() -> None:
    if not processes.remembered():
        line("  nothing runs")
        return
    with step("stop everything") as current:
        names = [name for name in processes.remembered() if name != supervisor.NAME and processes.running(name)]
        # The supervisor stops its processes in order; each may take its whole limit.
        processes.stop(supervisor.NAME, limit=processes.STOP_LIMIT * max(1, len(names)))
        left = [name for name in processes.remembered() if processes.stop(name)]
        if left:
            current.note(f"left behind by a killed supervisor: {', '.join(left)}")
        elif names:
            current.note(", ".join(names))


def status() -> bool:
    """Prints the table; whether everything that should run is ready."""
    kept = settings.load()
    rows = [("process", "pid", "address", "ready")]
    all_ready = bool(kept) and processes.running(supervisor.NAME) is not None
    for spec in supervisor.read_plan() if kept else []:
        pid = processes.running(spec["name"])
        address, ready = _state(spec["name"], kept, pid)
        all_ready = all_ready and ready == "yes"
        rows.append((spec["name"], str(pid or "-"), address, ready))
    if len(rows) == 1:
        line("  nothing runs; start it with ./dev up")
        return False
    rows.append((supervisor.NAME, str(processes.running(supervisor.NAME) or "-"), "-", "yes" if processes.running(supervisor.NAME) else "no: run ./dev up"))
    table(rows)
    return all_ready


def _state(name: str, kept: dict[str, str], pid: Optional[int]) -> tuple[str, str]:
    def url(port: str) -> str:
        return f"http://127.0.0.1:{kept.get(port, '0')}"

    if name == "postgres":
        address = f"127.0.0.1:{kept['TOCSIN_POSTGRES_PORT']}"
        home = Path(places.POSTGRES_HOME_FILE.read_text().strip())
        ready = pid is not None and servers.Postgres(home, tools.postgres_programs()).is_ready(int(kept["TOCSIN_POSTGRES_PORT"]))
        return address, "yes" if ready else "no"
    address, probe = {
        "nats": (kept["NATS_URL"], url("TOCSIN_NATS_MONITORING_PORT") + "/healthz"),
        "standins": (url("TOCSIN_SLACK_PORT"), url("TOCSIN_SLACK_PORT") + "/"),
        "services": (f"{url('TOCSIN_INGRESS_PORT')} {url('TOCSIN_CONFIG_PORT')}", url("TOCSIN_SERVICES_HEALTH_PORT") + "/ready"),
        "worker-1": (url("TOCSIN_WORKER_1_HEALTH_PORT"), url("TOCSIN_WORKER_1_HEALTH_PORT") + "/ready"),
        "worker-2": (url("TOCSIN_WORKER_2_HEALTH_PORT"), url("TOCSIN_WORKER_2_HEALTH_PORT") + "/ready"),
    }[name]
    return address, "yes" if pid and servers.answers(probe) else "no"


def reset(confirmed: bool) -> None:
    """Forgets all data, keys and settings; the installed tools stay."""
    doomed = [path for path in places.STATE.glob("*") if path != places.TOOLS]
    home = _postgres_home()
    if home and home.exists():
        doomed.append(home)
    if not doomed:
        line("  nothing to forget")
        return
    if not confirmed:
        if not sys.stdin.isatty():
            raise Failure("reset wipes all data and there is nobody to ask", "./dev reset --yes")
        answer = input("  This wipes streams, database, keys and settings of this checkout. Type `yes`: ")
        if answer.strip() != "yes":
            line("  nothing was changed")
            return
    down()
    with step("wipe .tocsin but its tools"):
        for path in doomed:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=False)
            else:
                path.unlink(missing_ok=True)


def _postgres_home() -> Optional[Path]:
    """Only a folder that we made ourselves: what the file says is not enough to remove a folder."""
    try:
        home = Path(places.POSTGRES_HOME_FILE.read_text().strip())
    except OSError:
        return None
    return home if home.name == "postgres" and home.parent in (places.STATE, places.outside()) else None


def nats(arguments: list[str]) -> None:
    """Becomes the `nats` CLI with the operator's identity."""
    kept = _kept()
    # `tocsin` too, for `--translate 'tocsin decode'`.
    path = os.pathsep.join([str(_programs()), tools.environment()["PATH"]])
    program = shutil.which("nats", path=path)
    if not program:
        raise Failure(
            "the nats CLI is not on PATH",
            f"get it from https://github.com/nats-io/natscli (brew install nats-io/nats-tools/nats), or with Go:\n"
            f"       GOBIN={places.TOOLS / 'bin'} go install {NATS_CLI}",
        )
    environment = {
        **tools.environment(),
        "PATH": path,
        "NATS_URL": kept["NATS_URL"],
        "NATS_NKEY": str(places.KEYS / "operator.nk"),
        # Contexts of the person's own must not decide which server this is.
        "NATS_CONTEXT": "",
    }
    os.execvpe(program, [program, *arguments], environment)


def tocsin(arguments: list[str]) -> None:
    """Becomes the `tocsin` CLI with the settings of this checkout."""
    environment = {**tools.environment(), **_kept()}
    program = _programs() / "tocsin"
    if not program.exists():
        raise Failure(f"{program} is not there", "./dev up builds it")
    os.execve(program, [str(program), *arguments], environment)


def _programs() -> Path:
    """Where `./dev up` last built: the services that run and the CLI are the same program."""
    running = next((Path(spec["command"][0]) for spec in supervisor.read_plan() if spec["name"] == "services"), None)
    return running.parent if running else places.target() / "debug"


def psql(arguments: list[str]) -> None:
    """Becomes `psql` on our database."""
    kept = _kept()
    program = tools.psql()
    if not program:
        raise Failure("there is no psql on PATH", f"install a PostgreSQL client, or use any other with {kept['DATABASE_URL']}")
    os.execv(program, [str(program), kept["DATABASE_URL"], *arguments])


def logs(names: list[str], follow: bool, lines: int) -> None:
    known = sorted(path.stem for path in places.LOGS.glob("*.log"))
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        raise Failure(f"there is no log of {', '.join(unknown) or 'anything'}", f"there are: {', '.join(known) or 'none; run ./dev up first'}")
    files = [str(places.LOGS / f"{name}.log") for name in (names or known)]
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *files])


def _kept() -> dict[str, str]:
    kept = settings.load()
    if not kept:
        raise Failure("nothing was started in this checkout yet", "./dev up")
    if not processes.running(supervisor.NAME) and "NATS_URL" in kept.get("TOCSIN_OWN_SERVERS", ""):
        warn("nothing runs at the moment: ./dev up starts it")
    return kept
