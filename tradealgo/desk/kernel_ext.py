"""Preloaded by both kernels (`--ext=tradealgo.desk.kernel_ext` in kernel.json): what a notebook may and may not do here."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import Any

from tradealgo.config import kernel_mode

#: Of the machine's memory: beyond it a notebook gets MemoryError, and the engine's processes go on.
MEMORY_SHARE = 0.75

#: Linux: when memory runs out all the same, a notebook goes before any process of a session.
OOM_SCORE = 500

LIVE_BANNER = (
    "<div style='padding:6px 12px;border-top:10px solid;"
    "border-image:repeating-linear-gradient(-45deg,#111 0 12px,#ffc400 12px 24px) 10;font-weight:600'>"
    "TradeAlgo live kernel: sessions launched here with mode='live' trade real money.</div>"
)


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython before the first cell."""
    limit_memory()
    go_first()
    if kernel_mode() == "research":
        strip_secrets()
    elif kernel_mode() == "live":
        _show_once(shell, LIVE_BANNER)


def strip_secrets() -> list[str]:
    """Take the broker's credentials (KITE_…) out of this process's environment; returns their names."""
    names = [name for name in os.environ if name.startswith("KITE_")]
    for name in names:
        del os.environ[name]
    return names


def limit_memory() -> int:
    """Limit this process's data to MEMORY_SHARE of the machine's memory; returns bytes, 0 where there is no such limit."""
    try:
        size = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))  # soft: a session's processes may lift it again
    except (ValueError, OSError):
        return 0  # macOS has no such limit for a running process
    return size


def go_first() -> None:
    """Offer this process to the kernel's out-of-memory killer. A session that it launches is taken out again."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def _show_once(shell: Any, html: str) -> None:
    def show(*_: Any) -> None:
        from IPython.display import HTML, display

        shell.events.unregister("pre_run_cell", show)
        display(HTML(html))

    shell.events.register("pre_run_cell", show)
