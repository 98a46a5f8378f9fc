"""Visits as events: a line of JSON for each, and its picture."""

import json
import logging
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from transfer_app.camera.visits import Visit

_LONGEST_NAME = 100  # characters of a picture's name that are of its film

_logger = logging.getLogger(__name__)


def event_of(visit: Visit, pictures: Path | None = None) -> str:
    """Return the line of a visit, and save its picture.

    Args:
        visit: The visit.
        pictures: The folder to save its picture in, if it is to be saved.

    Examples:
        >>> from transfer_app.camera.events import event_of
        >>> from transfer_app.camera.visits import Visit
        >>> print(event_of(Visit("cat", 0.98765, begin=6.5, end=13.5, film="monday.mp4")))
        {"film": "monday.mp4", "label": "cat", "score": 0.9877, "from": 6.5, "to": 13.5}
    """
    fields: dict[str, Any] = {"film": visit.film} if visit.film else {}
    fields |= {"label": visit.label, "score": round(visit.score, 4)}
    fields["from"] = _shown(visit.begin, visit.film)
    if visit.end is not None:
        fields["to"] = _shown(visit.end, visit.film)
    if pictures and visit.picture:
        beginning = re.sub(r"[^\w.]+", "-", f"{visit.film[-_LONGEST_NAME:]}-{fields['from']}")
        file = pictures / f"{beginning.strip('-')}.jpg"
        try:
            file.write_bytes(visit.picture)
            fields["picture"] = str(file)
        except OSError as error:  # the camera is watched on
            _logger.warning("%s cannot be written: %s", file, error.strerror)
    return json.dumps(fields)


def _shown(seconds: float, film: str) -> float | str:
    """Return seconds of a film; live, the time of day with its zone."""
    if film:
        return round(seconds, 3)
    moment = time.time() - (time.monotonic() - seconds)
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="milliseconds")
