"""Where things are. Everything `./dev` makes lives under `.tocsin/`, but for what `nobody` must reach."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STATE = ROOT / ".tocsin"
TOOLS = STATE / "tools"
RUN = STATE / "run"
LOGS = STATE / "logs"
KEYS = STATE / "keys"
ENV_FILE = STATE / "env"
PLAN_FILE = STATE / "plan.json"
POSTGRES_HOME_FILE = STATE / "postgres-home"


def prepare() -> None:
    for folder in (STATE, RUN, LOGS, TOOLS):
        folder.mkdir(parents=True, exist_ok=True)
    STATE.chmod(0o755 if os.geteuid() == 0 else 0o700)


def target() -> Path:
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def outside() -> Path:
    """A folder that the user `nobody` can reach, for a PostgreSQL started by root; this checkout's own."""
    mark = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"tocsin-{mark}"
    folder.mkdir(mode=0o755, exist_ok=True)
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise PermissionError(f"{folder} belongs to user id {owner}: remove it or set TMPDIR")
    return folder
