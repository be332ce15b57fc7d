"""The two servers of row 6, each one uvicorn process: Foldline's, and one that does nothing."""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn
from litestar import Litestar, Request, post

from bench import shop
from bench.stores import url


@post("/commands/{name:str}", status_code=200)
async def do_nothing(request: Request[Any, Any, Any]) -> dict[str, int]:
    """Read the body and answer."""
    return {"bytes": len(await request.body())}


def main() -> None:
    """``python -m bench.http_server FILENO foldline|nothing STORE``: serve until terminated."""
    fileno, kind, store = sys.argv[1:]
    application: Litestar
    if kind == "foldline":
        from pathlib import Path

        from foldline.http import asgi

        application = asgi(shop.app(), url(Path(store)))
    else:
        application = Litestar([do_nothing], openapi_config=None, logging_config=None)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(fileno))])


if __name__ == "__main__":
    main()
