"""Row 6: `POST /commands` over 32 kept connections, beside a server that only reads the same bodies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from bench import http_client, shop
from bench.execute import ORDERS, commands, prepare
from bench.plan import Figure, Figures, Job, Line, Measurement

CONNECTIONS = 32


def foldline(job: Job) -> Figures:
    """Foldline's own HTTP application on a store with synchronous=FULL."""
    return _serve(job, "foldline")


def nothing(job: Job) -> Figures:
    """The same server and framework with a handler that reads the body."""
    return _serve(job, "nothing")


def _serve(job: Job, kind: str) -> Figures:
    """Answers a second, and what share of the time the server's process was at work on a core."""
    path = job.copy("foldline.db")
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    port: int = listening.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.http_server", str(listening.fileno()), kind, str(path)],
        pass_fds=[listening.fileno()],
    )
    listening.close()
    try:
        requests = _requests(job, port, job.size(20_000, 320))
        # The first answer tells that the server has started; the rest is measured.
        uvloop.run(http_client.send(port, 1, requests[:1]))
        before, started = _seconds_at_work(server.pid), time.perf_counter()
        rate = uvloop.run(http_client.send(port, CONNECTIONS, requests[1:]))
        busy = (_seconds_at_work(server.pid) - before) / (time.perf_counter() - started)
    finally:
        server.terminate()
        server.wait(60)
    return {"rate": rate, "busy": busy}


def _requests(job: Job, port: int, count: int) -> list[bytes]:
    coming = commands(job.run, job.size(ORDERS, 100))
    bodies = (
        msgspec.json.encode(shop.ChangeQuantity(shop.order_id(order), sku, quantity))
        for _, (order, sku, quantity) in zip(range(count), coming, strict=False)
    )
    return [http_client.request(port, "/commands/ChangeQuantity", body) for body in bodies]


def _seconds_at_work(pid: int) -> float:
    """Processor seconds of a process so far, where Linux tells; else 0."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


MEASUREMENT = Measurement(
    name="http",
    title="HTTP POST /commands, 32 connections, one process",
    preparations=(prepare,),
    sides={"foldline": foldline, "nothing": nothing},
    lines=(
        Line(
            "HTTP POST /commands, 32 connections: beside a do-nothing POST of the same body",
            Figure("foldline"), Figure("nothing"), 0.5,
        ),
        Line("… cores that Foldline's server kept busy", Figure("foldline", "busy"), unit="cores"),
        Line("… cores that the do-nothing server kept busy", Figure("nothing", "busy"), unit="cores"),
    ),
)  # fmt: skip
