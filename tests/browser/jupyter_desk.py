"""A Jupyter server (or JupyterLab) of a test's own: private folders, a free port, a token; and HTTP as a stranger sees it."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.sizing import Sizing
from tradealgo.live.manifest import free_port

TOKEN = "desk-test-token"
WRITER = Path(__file__).with_name("session_writer.py")


class Jupyter:
    """`jupyter server`, or `lab`, on loopback."""

    def __init__(self, folder: Path, home: Path, app: str = "server", **more: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        private = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        private |= {
            f"JUPYTERLAB_{name}_DIR": str(folder / f"lab-{name.lower()}") for name in ("SETTINGS", "WORKSPACES")
        }
        env = os.environ | private | {"IPYTHONDIR": str(folder / "ipython"), "TRADEALGO_HOME": str(home)} | more
        quiet = folder / "lab-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True, exist_ok=True)
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}')
        self.log = folder / "jupyter.log"
        module = {"server": "jupyter_server", "lab": "jupyterlab"}[app]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    module,
                    "--allow-root",
                    "--no-browser",
                    "--ip=127.0.0.1",
                    f"--port={self.port}",
                    "--ServerApp.port_retries=0",
                    f"--IdentityProvider.token={TOKEN}",
                    f"--ServerApp.root_dir={self.work}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )

    def wait(self, timeout_s: float = 60) -> Jupyter:
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError):
                if self.http("GET", "/api/status", token=TOKEN)[0] == 200:
                    return self
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"Jupyter did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def http(
        self, method: str, path: str, body: Any = None, *, token: str = "", opener: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """One request; (status, body as JSON or text). Headers by keyword, `_` for `-`."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()},
        )
        if token:
            request.add_header("Authorization", f"token {token}")
        try:
            with (opener or urllib.request.build_opener()).open(request, timeout=15) as reply:
                status, data = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, data = error.code, error.read()
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data.decode(errors="replace")

    def login(self) -> tuple[Any, str]:
        """An opener with this server's cookies, as a browser has them, and the XSRF token."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        assert self.http("GET", f"/tradealgo/panel?token={TOKEN}", opener=opener)[0] == 200
        return opener, next(c.value or "" for c in jar if c.name == "_xsrf")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class WrittenSession:
    """A session whose streams the stand-in writes, on a bus that is there."""

    def __init__(self, home: Path, bus_url: str, mode: Mode = Mode.PAPER, pace: Sequence[float] = ()) -> None:
        self.id = f"desk-{uuid.uuid4().hex[:8]}"
        self.folder = SessionDir(home / "sessions" / self.id)
        self.folder.path.mkdir(parents=True)
        self.folder.write_manifest(
            Manifest(
                session_id=self.id,
                mode=mode,
                account="PAPER1" if mode is Mode.PAPER else "AB1234",
                strategy="tradealgo.strategies.ema_cross:EmaCross",
                parameters={"fast": 10, "slow": 30},
                instruments=("NSE:INFY", "NSE:RELIANCE"),
                capital=1_000_000.0,
                sizing=Sizing(units=300),
                bus_url=bus_url,
                created=time.time_ns(),
            )
        )
        with open(self.folder.logs / "writer.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(WRITER), str(self.folder.path), *map(str, pace)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
