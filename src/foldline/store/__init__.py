"""The append-only log and what is kept beside it: the interface, and one adapter a database."""
