"""What a cell shows of a session: the desk, or one part of it.

A cell's output carries only the session's id and a still picture. JupyterLab draws it from the server's stream (see
`labextension`), so it moves while a cell is busy and comes back after a reload, with or without a kernel; anything
else (papermill, nbconvert, VS Code, GitHub) shows the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradealgo.desk.picture import picture, text

if TYPE_CHECKING:
    import anywidget

    from tradealgo.live.session import LiveSession

MIME = "application/vnd.tradealgo.desk+json"
PARTS = (
    "desk", "mtm", "price", "kill_switch", "figures", "positions", "orders", "fills", "health", "alerts", "latency",
    "risk", "strategy",
)  # fmt: skip


class Part:
    """A part of the desk in a cell's output. `widget()` gives it as an ipywidget, for a layout of your own."""

    def __init__(self, session: LiveSession, name: str) -> None:
        if name not in PARTS:
            raise ValueError(f"the desk has no part {name!r}: it has {', '.join(PARTS)}")
        self.session = session
        self.name = name

    @property
    def session_id(self) -> str:
        return self.session.manifest.session_id

    def picture(self) -> str:
        """The figures of now as HTML that needs nothing around it."""
        shot = self.session.snapshot()
        return picture(shot, self.session.view.mtm, self.name)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            MIME: {"session": self.session_id, "part": self.name},
            "text/html": self.picture(),
            "text/plain": repr(self),
        }

    def __repr__(self) -> str:
        return text(self.session.snapshot())

    def widget(self) -> anywidget.AnyWidget:
        """The same as an ipywidget: `VBox([mtm(session).widget(), my_slider])`."""
        return _widget_class()(session_id=self.session_id, part=self.name, picture=self.picture())


def _widget_class() -> type[anywidget.AnyWidget]:
    import anywidget
    import traitlets

    class DeskWidget(anywidget.AnyWidget):
        """Draws a part from the Jupyter server's stream; its kernel only says which."""

        _esm = Path(__file__).parent / "static" / "widget.js"
        session_id = traitlets.Unicode().tag(sync=True)
        part = traitlets.Unicode("desk").tag(sync=True)
        picture = traitlets.Unicode().tag(sync=True)

    return DeskWidget


def desk(session: LiveSession) -> Part:
    """All of a session on one screen: MTM, price, positions, orders, health, alerts, limits, kill switch.

    >>> desk(session)  # doctest: +SKIP
    """
    return Part(session, "desk")


def mtm(session: LiveSession) -> Part:
    """The MTM chart, with the line at which the kill switch trips by itself."""
    return Part(session, "mtm")


def kill_switch(session: LiveSession) -> Part:
    """The kill switch: hold half a second; shows the confirmed state through to verified flat."""
    return Part(session, "kill_switch")


def part(session: LiveSession, name: str) -> Part:
    """Any one part by its name; see `PARTS`."""
    return Part(session, name)
