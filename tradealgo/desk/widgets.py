"""What a cell shows of a session: the desk, or one part of it.

A cell's output carries only the session's id and a still picture. JupyterLab draws it from the server's stream (see
`labextension`), so it moves while a cell is busy and comes back after a reload, with or without a kernel; anything
else (papermill, nbconvert, VS Code, GitHub) shows the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradealgo.desk.picture import picture, text
from tradealgo.live.view import SessionView

if TYPE_CHECKING:
    import anywidget

MIME = "application/vnd.tradealgo.desk+json"
PARTS = (
    "desk", "mtm", "price", "kill_switch", "figures", "positions", "orders", "fills", "health", "alerts", "latency",
    "risk", "strategy",
)  # fmt: skip


class Part:
    """A part of the desk in a cell's output. `widget()` gives it as an ipywidget, for a layout of your own."""

    def __init__(self, session: Any, name: str) -> None:
        if name not in PARTS:
            raise ValueError(f"the desk has no part {name!r}: it has {', '.join(PARTS)}")
        self.session = session
        self.name = name

    @property
    def view(self) -> SessionView:
        """The session as it is now."""
        return self.session.view

    @property
    def session_id(self) -> str:
        return self.session.manifest.session_id

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shot = self._shot()
        html = picture(shot, self.view.mtm, self.name)
        return {MIME: {"session": self.session_id, "part": self.name}, "text/html": html, "text/plain": text(shot)}

    def __repr__(self) -> str:
        return text(self._shot())

    def _shot(self) -> dict[str, Any]:
        return self.session.snapshot()

    def widget(self) -> anywidget.AnyWidget:
        """The same as an ipywidget: `VBox([mtm(session).widget(), my_slider])`."""
        return _widget_class()(
            session_id=self.session_id, part=self.name, picture=picture(self._shot(), self.view.mtm, self.name)
        )


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


def desk(session: Any) -> Part:
    """All of a session on one screen: MTM, price, positions, orders, health, alerts, limits, kill switch.

    >>> desk(session)  # doctest: +SKIP
    """
    return Part(session, "desk")


def mtm(session: Any) -> Part:
    """The MTM chart, with the line at which the kill switch trips by itself."""
    return Part(session, "mtm")


def kill_switch(session: Any) -> Part:
    """The kill switch: hold half a second; shows the confirmed state through to verified flat."""
    return Part(session, "kill_switch")


def part(session: Any, name: str) -> Part:
    """Any one part by its name; see `PARTS`."""
    return Part(session, name)
