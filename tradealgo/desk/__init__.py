"""The desk: JupyterLab as a trading cockpit.

    from tradealgo.desk import desk, kill_switch, mtm

    desk(session)

Everything shown and everything done goes between the browser and the Jupyter Server extension of `desk.server`: the
kernel is on neither way, so a busy, stopped or dead one changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradealgo.desk.form import launcher as launcher
    from tradealgo.desk.widgets import desk as desk
    from tradealgo.desk.widgets import kill_switch as kill_switch
    from tradealgo.desk.widgets import mtm as mtm
    from tradealgo.desk.widgets import part as part

_WIDGETS = ("desk", "kill_switch", "mtm", "part")

__all__ = ["desk", "kill_switch", "launcher", "mtm", "part"]


def __getattr__(name: str) -> Any:
    if name in _WIDGETS:
        from tradealgo.desk import widgets

        return getattr(widgets, name)
    if name == "launcher":
        from tradealgo.desk import form

        return form.launcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tradealgo.desk.server"}]
