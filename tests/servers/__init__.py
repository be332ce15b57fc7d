"""Real servers for tests and measurements: PostgreSQL, PgBouncer and a network between that can be slow or cut."""
