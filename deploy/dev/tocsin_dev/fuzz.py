"""`./dev fuzz`: each fuzz target for a while, from the fixtures and what earlier runs found."""

from __future__ import annotations

import argparse
import base64
import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

from . import build, places, tools
from .say import Failure, line, step

FOLDER = places.ROOT / "fuzz"
FIXTURES = places.ROOT / "tests" / "fixtures" / "webhooks"
# What runs found; safe to delete.
STATE = places.STATE / "fuzz"
# The clock of the targets (fuzz/src/lib.rs).
NOW = "1767323045"
# No fixture is longer, and longer inputs only slow the search down.
MAX_INPUT_BYTES = 64 * 1024
# An input that takes this many seconds is a finding.
SLOW_SECONDS = 5
# Keys of JSON that the fuzzer is told, the most frequent of the fixtures.
MAX_WORDS = 400


def fuzz(arguments: list[str]) -> int:
    known = re.findall(r'^path = "fuzz_targets/(\w+)\.rs"', (FOLDER / "Cargo.toml").read_text(), re.MULTILINE)
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"{', '.join(known)}; all when none is given")
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs (60)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in known]
    if unknown:
        raise Failure(f"no fuzz target is called {unknown[0]!r}", f"there are {', '.join(known)}")
    tools.need_cargo()
    programs = _build()
    words = _dictionary()
    found = [name for name in options.targets or known if not _run(programs / name, options.seconds, words)]
    if found:
        raise Failure(
            f"findings of {', '.join(found)}",
            f"each input lies in {_shown(STATE)}/<target>/findings; repeat one by giving its path to "
            f"{_shown(programs)}/<target>, and make a test of it",
        )
    return 0


def _build() -> Path:
    """The folder with the instrumented programs. Their flags are in fuzz/.cargo/config.toml, which RUSTFLAGS would hide."""
    target = places.target() / "fuzz"
    environment = {name: value for name, value in os.environ.items() if name not in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")}
    with step("build the fuzz targets") as current:
        command = ["build", "--locked", "--bins", "--target-dir", str(target)]
        build.cargo(command, current, folder=FOLDER, environment=environment)
    said = subprocess.run(["rustc", "-vV"], cwd=FOLDER, capture_output=True, text=True, check=True).stdout
    host = re.search(r"^host: (\S+)", said, re.MULTILINE)
    if not host:
        raise Failure("rustc does not say for which machine it compiles", "see `rustc -vV`")
    return target / host.group(1) / "debug"


def _run(program: Path, seconds: int, words: Path) -> bool:
    """Whether the target ran to its end without a finding."""
    home = STATE / program.name
    corpus, seeds, findings = home / "corpus", home / "seeds", home / "findings"
    # Seeds of another time are none: the fixtures may have changed.
    shutil.rmtree(seeds, ignore_errors=True)
    for folder in (corpus, seeds, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in _seeds(program.name):
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    before = set(findings.iterdir())
    log = home / "log"
    # fmt: off
    command = [str(program), str(corpus), str(seeds), f"-artifact_prefix={findings}/", f"-dict={words}",
               f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", f"-timeout={SLOW_SECONDS}", "-print_final_stats=1"]
    # fmt: on
    with step(f"fuzz {program.name} for {seconds} s") as current:
        with log.open("wb") as output:
            code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
        said = log.read_text(errors="replace")
        current.note(_figures(said))
    new = sorted(set(findings.iterdir()) - before)
    for finding in new:
        panic = re.search(r"panicked at (.+?):\n(.+)", said)
        line(f"        {_shown(finding)}" + (f": {panic.group(2)} ({panic.group(1)})" if panic else ""))
    if code != 0 and not new:
        raise Failure(f"{program.name} ended with {code}", f"see {_shown(log)}")
    return not new


def _figures(said: str) -> str:
    """What libFuzzer says of a run: `#2097152 pulse cov: 1031 ft: 4418 corp: 702/201Kb …`."""
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", said) or re.findall(r"^#(\d+)\s", said, re.MULTILINE)
    reached = re.findall(r" cov: (\d+) ft: (\d+) corp: (\d+)/", said)
    edges, _features, inputs = reached[-1] if reached else ("?", "?", "?")
    return f"{int(executed[-1]) if executed else 0:,} executions, {edges} edges, {inputs} inputs kept"


def _seeds(target: str) -> Iterator[bytes]:
    """Inputs as fuzz/src/lib.rs reads them. `{mac}` in a header is a right signature of the input."""
    index = json.loads((FIXTURES / "index.json").read_text())["entries"]
    if target == "normalize":
        for entry in index:
            path = "/".join(filter(None, (entry["provider"], entry.get("endpoint"))))
            headers = [("content-type", entry["content_type"]), *entry["headers"].items()]
            yield _input(path, headers, (FIXTURES / entry["file"]).read_bytes())
        return
    if target == "sns":
        for file in sorted((FIXTURES / "sns").iterdir()):
            body = file.read_bytes()
            yield _input("certificate" if file.suffix == ".pem" else "message", [], body)
            for url in re.findall(rb'https://[^"\\\s]+', body):
                yield _input("url", [], url)
        return
    bodies = [b"", b'{"a":1}', (FIXTURES / index[0]["file"]).read_bytes()[:500]]
    for choice, headers in _signed(target):
        for body in bodies:
            yield _input(choice, headers, body)
    for vector in json.loads((FIXTURES / "vectors.json").read_text())["vectors"]:
        headers = [(name, _signable(value)) for name, value in vector["headers"]]
        for choice in sorted({choice for choice, _ in _signed(target)}):
            yield _input(choice, headers, base64.b64decode(vector["body_b64"]))


def _signed(target: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Variant and headers of deliveries as their senders make them."""
    if target == "hmac":
        time = ("x-slack-request-timestamp", NOW)
        return [
            ("x-hub-signature-256", [("x-hub-signature-256", "sha256={mac}")]),
            ("x-slack-signature", [time, ("x-slack-signature", "v0={mac}")]),
            ("x-pagerduty-signature", [("x-pagerduty-signature", "v1={other},v2=x, v1={mac}")]),
            ("x-base64", [("x-base64", "{mac}")]),
            ("x-list", [("x-time", NOW), ("x-list", "v9:{other};v8:x"), ("x-list", "v9:{mac}")]),
        ]
    if target == "stripe":
        values = (f"t={NOW},v1={{mac}}", f"t={NOW},v0=x, v1={{other}},v1={{mac}}")
        return [("stripe", [("stripe-signature", value)]) for value in values]
    if target == "token":
        return [
            ("header", [("x-token", "{mac}")]),
            ("bearer", [("authorization", "Bearer {other}")]),
            ("basic", [("authorization", "basic {mac}")]),
        ]
    if target == "standard_webhooks":
        values = ("v1,{mac}", "v1,{other} v1a,{ed25519}", "v1a,{ed25519} v2,x v1,eA==")
        return [
            (names, [(f"{names}-id", "msg_1"), (f"{names}-timestamp", NOW), (f"{names}-signature", value)])
            for names in ("webhook", "svix")
            for value in values
        ]
    raise Failure(f"nothing seeds the fuzz target {target}", f"add its deliveries to {_shown(Path(__file__))}")


def _signable(value: str) -> str:
    """A header of a vector, with its signatures and its time replaced by those of the target."""
    value = re.sub(r"\b[0-9a-f]{64}\b|[A-Za-z0-9+/]{43}=", "{mac}", value)
    return re.sub(r"\b1[0-9]{9}\b", NOW, value)


def _input(choice: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [choice, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\n".join(lines).encode() + body


def _dictionary() -> Path:
    """The words that senders use: what a fuzzer that sees only edges would be long in finding."""
    words: collections.Counter[str] = collections.Counter()
    for fixture in FIXTURES.glob("*/*.json"):
        words.update(set(re.findall(r'"([A-Za-z0-9_.]{2,40})"\s*:', fixture.read_text(errors="replace"))))
    frequent = [f'"{word}"' for word, _count in words.most_common(MAX_WORDS)]
    special = ["{mac}", "{other}", "{ed25519}", "sha256=", "v0=", "v1=", "v1,", "v1a,", "t=", NOW, "payload=", "\\\\ud800", '\\"']
    STATE.mkdir(parents=True, exist_ok=True)
    path = STATE / "words"
    entries = [*(json.dumps(word) for word in frequent), *(f'"{word}"' for word in special)]
    path.write_text("\n".join(entries) + "\n")
    return path


def _shown(path: Path) -> str:
    return os.path.relpath(path, places.ROOT)
