"""A server process of the shop: ``python -m tests.integration.http.program STORE``; says its address when ready."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from foldline.http import asgi, configure_logging, run
from tests.integration.http.shop import shop


def main(url: str) -> None:
    """Serve until a signal comes, then say so: the code after the server runs too."""
    configure_logging(json=True, level="DEBUG")
    run(asgi(shop, url), port=0, grace=5, ready=lambda address: print(address, flush=True))
    print("stopped cleanly", flush=True)


# For `uvicorn tests.integration.http.program:app`, which knows nothing of Foldline's own server.
app = asgi(shop, f"sqlite:{Path(tempfile.gettempdir()) / 'foldline-test-unused.db'}")

if __name__ == "__main__":
    main(sys.argv[1])
