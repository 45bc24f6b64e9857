"""The Jupyter Server extension: `/tradealgo/…`. What the browser sees of sessions, and the way of its kill switch.

GET  status              all sessions, or `?session=ID` one session's figures
WS   stream              follows sessions; see `Stream`
POST control/ACTION      kill, halt, resume, rearm or stop: {"session": ID, "reason": …, "source": …}
GET  panel               a page of its own, for a phone or a blocked JupyterLab
GET  static/…            the desk's scripts;  plotly.min.js  plotly's, from the installed wheel

Every route needs a login, and the server's authorizer says who may read or write `tradealgo`; a POST also needs the XSRF token
or the API token; a foreign origin gets 403 everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import tornado.web
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import origin_matches_pat, url_path_join
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from tradealgo.desk.feed import Hub
from tradealgo.desk.tab import Tab
from tradealgo.domain.errors import TradeAlgoError
from tradealgo.domain.state import Action, Control

STATIC = Path(__file__).parent / "static"

#: Between two messages to a tab.
MESSAGE_S = 0.2
#: A tab that hears nothing for three times as long takes the server for gone: where nothing is new it is told that.
ALIVE_S = 2.0
#: What is asked of sessions at the same moment: a kill of all is one request each.
ASKING = 8
SOURCES = frozenset({"desk", "panel", "topbar", "hotkey"})


class Guarded(JupyterHandler):
    """Refuses a foreign origin with 403 before anything else, whatever credentials came along."""

    auth_resource = "tradealgo"

    def check_own_origin(self) -> None:
        origin, host = self.request.headers.get("Origin"), self.request.headers.get("Host", "")
        if not origin or urlparse(origin).netloc.lower() == host.lower() or self.allow_origin in ("*", origin):
            return
        if self.allow_origin_pat and origin_matches_pat(self.allow_origin_pat, origin):
            return
        raise tornado.web.HTTPError(403, f"origin {origin} is not this server's ({host})")

    @property
    def hub(self) -> Hub:
        """The one hub of this server, reading from now on."""
        hub: Hub = self.settings["tradealgo_hub"]
        hub.start()
        return hub


class GuardedApi(Guarded, APIHandler):
    """REST."""

    async def prepare(self) -> None:  # type: ignore[override]
        self.check_own_origin()
        await super().prepare()


class Status(GuardedApi):
    """All sessions, or one."""

    @tornado.web.authenticated
    @authorized
    async def get(self) -> None:
        session_id = self.get_query_argument("session", None)
        if session_id is None:
            self.finish({"sessions": self.hub.rows(), "ts": time.time_ns()})
            return
        feed = self.hub.find(session_id)
        if feed is None:
            raise tornado.web.HTTPError(404, f"no session {session_id!r} in this home")
        feed.open()
        self.finish(json.dumps(feed.shot, default=str))


class ControlRoute(GuardedApi):
    """What people may ask of a session's Gatekeeper."""

    @tornado.web.authenticated
    @authorized
    async def post(self, action: str) -> None:
        body = self.get_json_body() or {}
        folder = self.hub.folder(str(body.get("session", "")))
        if folder is None:
            raise tornado.web.HTTPError(404, f"no session {body.get('session')!r} in this home")
        source = str(body.get("source"))
        source = source if source in SOURCES else "desk"
        control = Control(
            action=Action(action.upper()), source=source, reason=str(body.get("reason", ""))[:500], ts=time.time_ns()
        )  # fmt: skip
        if control.action is Action.REARM and not control.reason.strip():
            raise tornado.web.HTTPError(400, "a re-arm needs a reason: what was found, and why trading is safe again")
        self.log.warning("tradealgo: %s of %s asked by %s", action, body["session"], source)
        self.finish(await self._ask(folder, control))

    async def _ask(self, folder: Any, control: Control) -> dict[str, Any]:
        from tradealgo.control import request

        try:
            threads = self.settings["tradealgo_asking"]
            await asyncio.get_running_loop().run_in_executor(threads, request, folder, control)
        except TradeAlgoError as error:
            raise tornado.web.HTTPError(409, str(error)) from error
        return {"accepted": True, "action": control.action.value, "ms": (time.time_ns() - control.ts) / 1e6}


class Stream(WebSocketMixin, WebSocketHandler, Guarded):  # type: ignore[misc]
    """One tab. It says {"follow": ID, "chart": TOKEN}; it is told the list of sessions and the views it follows.

    The pump builds each message when the last one has left: a slow tab gets fewer, and nothing queues up.
    """

    async def prepare(self) -> None:  # type: ignore[override]
        self.check_own_origin()
        await super().prepare()

    @authorized
    async def get(self, *args: Any, **kwargs: Any) -> None:
        await super().get(*args, **kwargs)

    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def open(self, *args: Any, **kwargs: Any) -> None:
        super().open(*args, **kwargs)
        self._tabs: dict[str, Tab] = {}
        self._pump_task = asyncio.ensure_future(self._pump())

    def on_message(self, message: str | bytes) -> None:
        try:
            asked = json.loads(message)
            self._follow(asked)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.log.warning("tradealgo: a tab sent %r: expected a JSON object with follow or leave", message[:200])

    def _follow(self, asked: dict[str, Any]) -> None:
        if session_id := asked.get("leave"):
            self._tabs.pop(session_id, None)
            return
        self.hub.look()
        feed = self.hub.find(asked["follow"])
        if feed is None:
            return
        feed.open()
        tab = self._tabs.get(asked["follow"])
        if tab is None or asked.get("again"):
            tab = self._tabs[asked["follow"]] = Tab(feed.view, tab.chart if tab else None)
        if asked.get("chart"):
            tab.show(int(asked["chart"]))

    async def _pump(self) -> None:
        told: list[dict[str, Any]] | None = None
        told_at = sent_at = 0.0
        with contextlib.suppress(WebSocketClosedError, asyncio.CancelledError):
            while True:
                rows = self.hub.rows()
                if rows != told and (_states(rows) != _states(told or []) or time.monotonic() - told_at > 1.0):
                    told, told_at = rows, time.monotonic()
                    sent_at = told_at
                    await self.write_message(json.dumps({"type": "sessions", "sessions": rows}, default=str))
                for session_id, tab in list(self._tabs.items()):
                    feed = self.hub.find(session_id)
                    if feed and tab.view is not feed.view:  # over: now it is shown from the record
                        tab = self._tabs[session_id] = Tab(feed.view, tab.chart)
                    news = tab.message(feed.shot, time.time_ns()) if feed else None
                    if news:
                        sent_at = time.monotonic()
                        await self.write_message(json.dumps(news, default=str))
                if time.monotonic() - sent_at > ALIVE_S:
                    sent_at = time.monotonic()
                    await self.write_message('{"type": "alive"}')
                await asyncio.sleep(MESSAGE_S)

    def on_close(self) -> None:
        self._pump_task.cancel()
        super().on_close()


def _states(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What of a list of sessions can't wait for the next second."""
    return [(r["session_id"], r["status"], r["trading"], r["kill"]) for r in rows]


class Panel(Guarded):
    """The page that works without JupyterLab."""

    @tornado.web.authenticated
    @authorized
    def get(self) -> None:
        self.check_own_origin()
        _ = self.xsrf_token  # reading it sets the _xsrf cookie
        html = (STATIC / "panel.html").read_text()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(html.replace("{{base}}", tornado.escape.xhtml_escape(self.base_url)))


class Script(Guarded):
    """A script or style sheet of the desk, or plotly's."""

    KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

    @tornado.web.authenticated
    def get(self, name: str) -> None:
        path = STATIC / name
        if name == "plotly.min.js":
            import plotly

            path = Path(plotly.__file__).parent / "package_data" / name
        if path.suffix not in self.KINDS or not path.is_file():
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", f"{self.KINDS[path.suffix]}; charset=utf-8")
        self.set_header("Cache-Control", "max-age=86400" if name == "plotly.min.js" else "no-cache")
        self.finish(path.read_bytes())


def _load_jupyter_server_extension(serverapp: Any) -> None:
    """Called by Jupyter Server at its start."""
    app = serverapp.web_app
    app.settings["tradealgo_hub"] = Hub()
    # Of its own: a kill doesn't wait for a thread behind the records of past sessions
    app.settings["tradealgo_asking"] = ThreadPoolExecutor(ASKING, thread_name_prefix="tradealgo-control")
    base = url_path_join(app.settings["base_url"], "tradealgo")
    actions = "|".join(a.value.lower() for a in Action)
    app.add_handlers(
        ".*$",
        [
            (f"{base}/status", Status),
            (f"{base}/stream", Stream),
            (f"{base}/control/({actions})", ControlRoute),
            (f"{base}/panel", Panel),
            (f"{base}/static/([a-z]+\\.(?:js|css|svg))", Script),
            (f"{base}/(plotly\\.min\\.js)", Script),
        ],
    )
    serverapp.log.info("tradealgo: the desk is at %s/panel", base)
