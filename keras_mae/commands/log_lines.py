"""Lines of the log beside a bar on the same terminal."""

from __future__ import annotations

import logging
import sys


class AboveBars(logging.StreamHandler):
    """Writes lines to stderr; a bar that is drawn there is cleared first, and drawn again below."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        bars = sys.modules.get("tqdm")
        if bars is None:
            super().emit(record)
            return
        with bars.tqdm.external_write_mode(file=self.stream):
            super().emit(record)
