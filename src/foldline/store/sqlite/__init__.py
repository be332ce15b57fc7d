"""The SQLite store: an event log and read models in one file, with nothing to run."""

from foldline.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
