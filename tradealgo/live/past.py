"""A session that has ended, as the Recorder's rows have it."""

from __future__ import annotations

import os
import sys

from tradealgo.bus.keys import Stream
from tradealgo.config import Manifest, SessionDir
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.live.view import VIEW_STREAMS, SessionView

#: Heartbeats that a past session's view is built from: the rest say nothing more.
PAST_BEATS = 200


def recorded(folder: SessionDir, manifest: Manifest) -> tuple[SessionView, InstrumentBook | None]:
    """The view, and the instruments. Where the record can't be read, a database that is away say, stderr has a line and the view
    is empty: neither a stop nor a kill waits for it.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from tradealgo.journal.store import open_record

    view = SessionView(manifest)
    if not folder.record.exists() and "TRADEALGO_DATABASE_URL" not in os.environ:
        return view, None
    try:
        record = open_record(folder)
        try:
            for stream in VIEW_STREAMS:
                last = PAST_BEATS if stream is Stream.HEALTH else None
                for entry in record.entries(manifest.session_id, stream, last=last):
                    view.apply(entry)
            return view, InstrumentBook(record.instruments(manifest.session_id))
        finally:
            record.close()
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        print(f"session {manifest.session_id}: its record can't be read ({why})", file=sys.stderr)
        return SessionView(manifest), None
