"""What `contextmix serve` does under load: 200 texts at once, and small requests while a worker is stuck.

Run it with: python benchmarks/serve.py [requests]
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx


def main(requests: int) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "contextmix", "serve", "--port", "0", "--timeout", "5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address is not None
    print(f"ready after {time.monotonic() - began:.1f} s")
    try:
        asyncio.run(measure(address[0], requests))
        stuck(address[0], process.pid)
    finally:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        print(f"ended with status {process.wait(90)} after {time.monotonic() - began:.1f} s")


async def measure(address: str, requests: int) -> None:
    limits = httpx.Limits(max_connections=requests)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        began = time.monotonic()
        found = await asyncio.gather(*(one(client, number) for number in range(requests)))
        wall = time.monotonic() - began
    print(f"{requests} texts at once: all answered in {wall:.1f} s, {requests / wall:.0f} per second")
    for what in ("accepted", "looked", "whole"):
        print(f"  {what:>8}: {spread([seconds for each in found for seconds in each[what]])}")
    print(f"  refused for now (503): {sum(each['refused'] for each in found)}; failed: 0")


async def one(client: httpx.AsyncClient, number: int) -> dict[str, Any]:
    text, looked, refused, began = f"a good film , number {number} of many", [], 0, time.monotonic()
    while True:
        sent = time.monotonic()
        body = {"model": "demo", "text": text, "methods": ["globenc"]}
        answer = await client.post("/api/explorations", json=body)
        accepted = time.monotonic() - sent
        if answer.status_code != 503:
            break
        refused += 1
        await asyncio.sleep(int(answer.headers["retry-after"]))
    assert answer.status_code == 202, answer.text
    place, state = answer.headers["location"], "queued"
    while state in ("queued", "running"):
        await asyncio.sleep(0.5)
        sent = time.monotonic()
        state = (await client.get(place)).json()["state"]
        looked.append(time.monotonic() - sent)
    exhibit = (await client.get(f"{place}/exhibit")).json()
    assert exhibit["title"] == text
    return {"accepted": [accepted], "looked": looked, "whole": [time.monotonic() - began], "refused": refused}


def stuck(address: str, server: int) -> None:
    """Stop one worker in its tracks, as no request to stop would be heard, and use the server meanwhile."""
    starter = next(child for child in children(server) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(children(starter)[0], signal.SIGSTOP)
    body = {"model": "demo", "text": "a good film", "methods": ["globenc"]}
    places, seconds = [], []
    for _ in range(20):
        sent = time.monotonic()
        places.append(httpx.post(f"{address}/api/explorations", json=body).headers["location"])
        seconds.append(time.monotonic() - sent)
    began, meanwhile, states = time.monotonic(), 0, ["running"]
    while set(states) & {"queued", "running"}:
        states = [httpx.get(address + place).json()["state"] for place in places]
        meanwhile = states.count("done") if "running" in states else meanwhile
    took = time.monotonic() - began
    print(f"one worker stuck: {meanwhile} of 20 texts done while it hung; it was ended and told so after {took:.1f} s")
    print(f"  accepted: {spread(seconds)}")


def children(process: int) -> list[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for one in lists for child in one.read_text().split()]


def spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.95)]
    return f"median {at[0] * 1000:.0f} ms, 95 % below {at[1] * 1000:.0f} ms, longest {ordered[-1] * 1000:.0f} ms"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
