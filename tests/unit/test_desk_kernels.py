"""Kernelspecs, what they preload, and the labextension's files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tradealgo.config import Mode, kernel_mode, require_mode
from tradealgo.desk import kernel_ext
from tradealgo.desk.widgets import MIME, PARTS, Part
from tradealgo.domain.errors import BadConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mode", ["research", "live"])
def test_a_kernelspec_is_whole(mode: str) -> None:
    """A name, its mode in the environment, the preload, and logos of both sizes."""
    folder = ROOT / "kernels" / f"tradealgo-{mode}"
    spec = json.loads((folder / "kernel.json").read_text())
    assert spec["display_name"] == f"TradeAlgo {mode}"
    assert spec["env"]["TRADEALGO_MODE"] == mode
    assert "--ext=tradealgo.desk.kernel_ext" in spec["argv"]
    for size in (32, 64):
        assert (folder / f"logo-{size}x{size}.png").read_bytes().startswith(b"\x89PNG")


def test_the_research_kernel_is_paper_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a live session in one sentence that names the mend; the live kernel and a terminal don't."""
    monkeypatch.setenv("TRADEALGO_MODE", "research")
    require_mode(Mode.PAPER)
    with pytest.raises(BadConfig, match="TradeAlgo live"):
        require_mode(Mode.LIVE)
    monkeypatch.setenv("TRADEALGO_MODE", "live")
    require_mode(Mode.LIVE)
    monkeypatch.delenv("TRADEALGO_MODE")
    assert kernel_mode() == ""
    require_mode(Mode.LIVE)


def test_the_research_kernel_has_no_broker_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every KITE_ variable is gone once the preload has run; others stay."""
    monkeypatch.setenv("KITE_API_SECRET", "s3cret")
    monkeypatch.setenv("KITE_ANYTHING", "x")
    monkeypatch.setenv("OTHER", "stays")
    assert {"KITE_API_SECRET", "KITE_ANYTHING"} <= set(kernel_ext.strip_secrets())
    assert not [name for name in os.environ if name.startswith("KITE_")]
    assert os.environ["OTHER"] == "stays"


def test_what_is_shared_is_there() -> None:
    """Every source of pyproject's shared-data exists, and the labextension's package.json names its container."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for source in project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]:
        assert (ROOT / source).exists(), source
    lab = ROOT / "tradealgo/desk/labextension"
    package = json.loads((lab / "package.json").read_text())
    assert MIME in (lab / package["jupyterlab"]["_build"]["load"]).read_text()


def test_a_changed_labextension_has_another_name() -> None:
    """JupyterLab has browsers keep it for a year and never ask again: under its old name a tab would go on with the old one."""
    lab = ROOT / "tradealgo/desk/labextension"
    (script,) = (lab / "static").glob("*.js")
    name = f"remoteEntry.{hashlib.sha256(script.read_bytes()).hexdigest()[:12]}.js"
    assert script.name == name, f"rename {script.name} to {name}, in package.json too"
    assert json.loads((lab / "package.json").read_text())["jupyterlab"]["_build"]["load"] == f"static/{name}"


def test_no_script_comes_from_elsewhere() -> None:
    """The desk's scripts and styles name no other host."""
    for path in (ROOT / "tradealgo/desk").rglob("*.*"):
        if path.suffix in {".js", ".css", ".html"}:
            assert "https://" not in path.read_text(), path
            assert "http://" not in path.read_text(), path


def test_every_part_can_be_drawn() -> None:
    """The names that Python offers are those that the page knows; another is refused with the list."""
    script = (ROOT / "tradealgo/desk/static/desk.js").read_text()
    parts = script[script.index("export const PARTS") : script.index("const TITLES")]
    assert all(f"{name}:" in parts for name in PARTS if name != "desk")
    with pytest.raises(ValueError, match="kill_switch"):
        Part(None, "nonsense")  # type: ignore[arg-type]


LIMITED = """
import os, resource, subprocess, sys
from pathlib import Path
from tradealgo.desk import kernel_ext
from tradealgo.live.supervisor import free_of_limits

def said(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text()), resource.prlimit(pid, resource.RLIMIT_DATA)[0]

kernel_ext.limit_memory()
kernel_ext.go_first()
try:
    bytearray(2**46)
except MemoryError:
    print("MemoryError")
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
own, bound = said(os.getpid()), said(child.pid)
free_of_limits(child.pid)
free = said(child.pid)
child.communicate(b"\\n")
print(own == bound, bound[0] == kernel_ext.OOM_SCORE, free[0], free[1] != bound[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="these limits are Linux's")
def test_a_notebook_is_limited_and_what_it_launches_is_not() -> None:
    """Beyond its share of memory a kernel gets MemoryError; a session's processes have neither its limit nor its score."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["MemoryError", "True", "True", "0", "True"], done.stderr
