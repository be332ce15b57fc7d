"""``foldline migrate``: a store's schema brought to the newest, or the SQL that does it."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from foldline.app.stores import migrate_store, migration_script, shown
from foldline.cli.options import Flag, store_url


def migrate(
    url: Annotated[str | None, Parameter(env_var="FOLDLINE_STORE", show_default=False)] = None,
    /,
    *,
    print_: Annotated[Flag, Parameter(name="--print")] = False,
) -> None:
    """Bring a store's schema to the newest.

    Parameters
    ----------
    url
        URL of the store, such as postgresql://user@host/shop; made where it is missing.
    print_
        Change nothing, connect to nothing, and write the SQL of all migrations to standard output.
    """
    url = store_url(url)
    if print_:
        sys.stdout.write(migration_script(url))
        return
    applied = asyncio.run(migrate_store(url))
    if applied:
        print(f"Migrated {shown(url)}: applied {', '.join(applied)}.")
    else:
        print(f"Nothing to migrate: the schema of {shown(url)} is the newest.")
