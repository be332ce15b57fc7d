"""Events out of files and into files: what ``foldline import`` and ``export`` do, without a terminal."""

from __future__ import annotations

from foldline.transfer.columns import Columns
from foldline.transfer.exporting import Exported, export_events
from foldline.transfer.importing import Imported, Importing, import_events
from foldline.transfer.lines import line_of

__all__ = ["Columns", "Exported", "Imported", "Importing", "export_events", "import_events", "line_of"]
