"""HTTP: an application's commands, queries, views and log as an ASGI application, and a server for it."""

from foldline.http.application import asgi
from foldline.http.logs import configure_logging
from foldline.http.server import run, serve

__all__ = ["asgi", "configure_logging", "run", "serve"]
