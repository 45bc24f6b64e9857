"""The main job in one command: papermill runs the quickstart, and its summary says whether it all held."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import click

from tradealgo.domain.errors import BadConfig, InvalidInput
from tradealgo.live.review import run_name, symbol_of

NOTEBOOK = "notebooks/01_quickstart.ipynb"
#: papermill can wait for ever on a kernel that died: a hard end. The demo itself takes about a minute.
DEADLINE_S = 300


def find_notebook() -> Path:
    """The quickstart of this checkout. Raises BadConfig."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / NOTEBOOK).exists():
            return folder / NOTEBOOK
    raise BadConfig(f"{NOTEBOOK} is not below {Path.cwd()}: run the demo from a checkout of TradeAlgo")


def check_data(data: str | None, symbol: str | None = None) -> dict[str, object]:
    """The notebook's parameters for the candle file that was asked for. Raises InvalidInput for none, or a bad one."""
    if data is None:
        return {}
    path = Path(data).expanduser().resolve()
    if not path.is_file():
        raise InvalidInput(f"no candle file at {data}: expected one-minute candles as text, CSV or Parquet")
    symbol_of(path, symbol or "")
    return {"data": str(path), "symbol": symbol or ""}


def run_notebook(notebook: Path, out: Path, parameters: dict[str, object]) -> None:
    """Execute with papermill, refusing a parameter that the notebook doesn't have (papermill only warns)."""
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise BadConfig(f"{notebook.name} has no parameter {', '.join(unknown)}: it has {', '.join(sorted(known))}")
    papermill.execute_notebook(
        str(notebook), str(out), parameters=parameters, kernel_name="tradealgo-research",
        progress_bar=True, execution_timeout=DEADLINE_S, cwd=str(notebook.parent),
    )  # fmt: skip


def summary_text(folder: Path) -> str:
    """What the notebook wrote into summary.json, line by line."""
    return "\n".join(json.loads((folder / "summary.json").read_text())["lines"])


def main(data: str | None = None, out: str | None = None, symbol: str | None = None) -> int:
    """Run the demo into `runs/<time>/`; returns the exit code: 0 only if every step and the parity check held."""
    parameters = check_data(data, symbol)
    notebook = find_notebook()
    folder = Path(out or notebook.parents[1] / "runs" / run_name()).resolve()
    folder.mkdir(parents=True)
    # The demo's sessions, leases and tokens live in its own folder: it never meets a session that trades.
    os.environ["TRADEALGO_HOME"] = str(folder / "home")
    click.echo(f"running {notebook.relative_to(notebook.parents[1])} into {os.path.relpath(folder)} …", err=True)
    import papermill.exceptions

    try:
        run_notebook(notebook, folder / "01_quickstart.ipynb", parameters | {"run_dir": str(folder)})
    except papermill.exceptions.PapermillExecutionError as error:
        click.echo(f"the demo failed in cell {error.cell_index}: {error.ename}: {error.evalue}", err=True)
        click.echo(f"the executed notebook is {os.path.relpath(folder / '01_quickstart.ipynb')}", err=True)
        return 1
    finally:
        stop_leftovers()
    click.echo(summary_text(folder))
    click.echo(f"report:  {os.path.relpath(folder / 'report.html')}")
    click.echo(f"status:  TRADEALGO_HOME={os.path.relpath(folder / 'home')} {command()} status --all")
    return 0


def command() -> str:
    """`tradealgo` as it can be typed here."""
    return "tradealgo" if shutil.which("tradealgo") else os.path.relpath(Path(sys.executable).with_name("tradealgo"))


def stop_leftovers() -> None:
    """Stop whatever session a failed or interrupted notebook left running in the demo's home."""
    from tradealgo.config import session_dirs
    from tradealgo.live.supervisor import stop_session

    for session in session_dirs():
        stop_session(session)
