"""Logging for a server process: structlog's rendering for all that logs, be it Foldline or uvicorn."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

from foldline.errors import DefinitionError


def configure_logging(*, json: bool = False, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set logging up for this process, to standard error unless a stream is given.

    ``json`` writes one object a line, for machines; else lines for people, coloured on a terminal. Level
    ``DEBUG`` logs each request. Raises DefinitionError for a level that does not exist. Call it once, from a
    program; a library leaves logging alone.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise DefinitionError(f"There is no log level {level!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    out = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # Uvicorn tells at length what serve() tells in a line.
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
