"""The PostgreSQL store: the log, read models and all that belongs to them in one database."""

from foldline.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
