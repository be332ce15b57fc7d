"""The composition root: wires aggregates, views, handlers and a store into one running application."""

from foldline.app.definition import App
from foldline.app.running import Running
from foldline.app.stores import open_store
from foldline.app.sync import SyncRunning

__all__ = ["App", "Running", "SyncRunning", "open_store"]
