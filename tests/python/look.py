"""Looks at a running Tocsin with nats-py: one event as it comes, decoded by `tocsin decode`, and what is there.

Usage: look.py <nats url> <file with the operator's nkey seed> <tocsin binary>. Prints "subscribed", then, after the
first event, one line of JSON: {event: {subject, headers, decoded}, streams, consumers, services}.
"""

import asyncio
import json
import subprocess
import sys

import nats


async def services(connection):
    """Names of the micro services that answer $SRV.INFO within a second (ADR-32)."""
    inbox = connection.new_inbox()
    answers = await connection.subscribe(inbox)
    await connection.publish("$SRV.INFO", b"", reply=inbox)
    names = []
    try:
        while True:
            answer = await answers.next_msg(timeout=1)
            names.append(json.loads(answer.data)["name"])
    except asyncio.TimeoutError:
        return sorted(set(names))


async def main(url, seed, tocsin):
    with open(seed, encoding="ascii") as file:
        seed_text = file.read().strip()
    connection = await nats.connect(url, nkeys_seed_str=seed_text, inbox_prefix=b"_INBOX_operator")
    events = await connection.subscribe("events.>")
    await connection.flush()
    print("subscribed", flush=True)
    message = await events.next_msg(timeout=20)
    decoded = subprocess.run([tocsin, "decode"], input=message.data, stdout=subprocess.PIPE, check=True)
    jetstream = connection.jetstream()
    streams = [info.config.name for info in await jetstream.streams_info()]
    consumers = []
    for stream in streams:
        if not stream.startswith(("KV_", "OBJ_")):
            consumers += [f"{stream}/{info.name}" for info in await jetstream.consumers_info(stream)]
    seen = {
        "event": {
            "subject": message.subject,
            "headers": dict(message.headers or {}),
            "decoded": json.loads(decoded.stdout),
        },
        "streams": streams,
        "consumers": consumers,
        "services": await services(connection),
    }
    print(json.dumps(seen), flush=True)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
