"""The verbs of `./dev`."""

from __future__ import annotations

import argparse
import os
import signal

from . import check, fuzz, look, profile, supervisor, up
from .say import Failure, error, line

VERBS = {
    "up": "build, start everything, send one webhook and show what became of it (--detach, --release, --no-demo)",
    "down": "stop everything",
    "test": "format, lints, rules and all tests; with arguments, those tests only (./dev test -p tocsin-wire)",
    "fuzz": "each fuzz target of ingress for a minute (--seconds N, names of targets)",
    "lint": "format, clippy, cargo-deny",
    "bench": "build for release and run the load generator (./dev bench --help)",
    "profile": "record what the services do, for release builds to be optimised for (deploy/profile/README.md)",
    "chaos": "build for release, kill every process under load and count what was lost: nothing",
    "status": "what runs, where, and whether it is ready",
    "reset": "stop everything and wipe its data (--yes does not ask)",
    "tocsin": "the tocsin CLI with the settings of what runs (./dev tocsin events ls)",
    "nats": "the nats CLI as operator (./dev nats stream ls)",
    "psql": "psql on the database",
    "logs": "the logs, all or by name (./dev logs -f worker-1)",
}


def main(arguments: list[str]) -> int:
    # A terminal that closes is Ctrl-C.
    signal.signal(signal.SIGHUP, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments)
    except Failure as failure:
        error(failure)
        return 1
    except KeyboardInterrupt:
        line("\n  interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough of it, as in `./dev status | head -3`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _interrupt(*_):
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return usage()
    verb, rest = arguments[0], arguments[1:]
    if verb == "_supervise":
        return supervisor.run()
    if verb not in VERBS:
        usage()
        raise Failure(f"./dev has no verb {verb!r}")
    # These take arguments that are another program's to understand.
    if verb == "test":
        return check.test(rest)
    if verb == "fuzz":
        return fuzz.fuzz(rest)
    if verb == "profile":
        return profile.profile(rest)
    if verb in ("bench", "chaos"):
        return check.measure(f"tocsin-{verb}", rest)
    if verb == "nats":
        return look.nats(rest) or 0
    if verb == "tocsin":
        return look.tocsin(rest) or 0
    if verb == "psql":
        return look.psql(rest) or 0
    return _own(verb, rest)


def _own(verb: str, rest: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"./dev {verb}", description=VERBS[verb], allow_abbrev=False)
    if verb == "up":
        parser.add_argument("--detach", action="store_true", help="leave it running in the background and return")
        parser.add_argument("--release", action="store_true", help="the optimised build")
        parser.add_argument("--no-demo", action="store_true", help="no demo team, no webhook")
    elif verb == "reset":
        parser.add_argument("--yes", action="store_true", help="do not ask")
    elif verb == "logs":
        parser.add_argument("names", nargs="*", help="process names; all when none is given")
        parser.add_argument("-f", "--follow", action="store_true", help="keep showing what is added")
        parser.add_argument("-n", "--lines", type=int, default=20, help="how many lines of each (20)")
    options = parser.parse_args(rest)
    if verb == "up":
        return _up(options)
    if verb == "lint":
        return check.lint()
    if verb == "status":
        return 0 if look.status() else 1
    if verb == "down":
        look.down()
    elif verb == "reset":
        look.reset(options.yes)
    else:
        look.logs(options.names, options.follow, options.lines)
    return 0


def _up(options: argparse.Namespace) -> int:
    up.up(release=options.release, demo=not options.no_demo)
    if options.detach:
        return 0
    try:
        up.follow()
    except KeyboardInterrupt:
        line()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        look.down()
    return 0


def usage() -> int:
    line("Tocsin on one machine. Needs Rust and Python 3.9; what else is missing is installed into .tocsin/, without root.\n")
    width = max(map(len, VERBS))
    for verb, meaning in VERBS.items():
        line(f"  ./dev {verb.ljust(width)}  {meaning}")
    return 0
