"""Events out of files, into files, and from store to store: what ``foldline import``, ``export`` and ``copy`` do."""

from __future__ import annotations

from foldline.transfer.columns import Columns
from foldline.transfer.copying import Copied, Copying, copy_store
from foldline.transfer.digest import LogDigest
from foldline.transfer.exporting import Exported, export_events
from foldline.transfer.importing import Imported, Importing, import_events
from foldline.transfer.lines import line_of

__all__ = [
    "Columns",
    "Copied",
    "Copying",
    "Exported",
    "Imported",
    "Importing",
    "LogDigest",
    "copy_store",
    "export_events",
    "import_events",
    "line_of",
]
