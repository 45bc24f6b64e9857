"""`tradealgo`: what a notebook can do with sessions, from a terminal. Each command loads what it needs when it runs."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from tradealgo import __version__

if TYPE_CHECKING:
    from tradealgo.config import SessionDir
    from tradealgo.live.session import LiveSession

#: Exit codes: 1 what was asked for didn't happen, 2 the input is wrong (click's own code for it).
FAILED, WRONG_INPUT = 1, 2

#: What a notebook would call, and the command for it.
CALLS = (
    (r"\blaunch\(\)", "`tradealgo launch`"),
    (r"\battach\('([^']+)'\)\.stop\(\)", r"`tradealgo stop \1`"),
    (r"\battach\('([^']+)'\)", r"`tradealgo attach \1`"),
    (r"\bsession\.logs\(…\)", "`tradealgo logs MODULE`"),
    (r"\bask again with force\b", "ask again with --force"),
)


def in_one_sentence(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors that we raise on purpose become their sentence on stderr and an exit code, not a traceback."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        from tradealgo.domain.errors import InvalidInput, TradeAlgoError

        try:
            return command(*arguments, **options)
        except BrokenPipeError:  # whoever read it has gone: click's to end quietly
            raise
        except (TradeAlgoError, OSError) as error:  # a time-out, a full disk, a folder that isn't ours
            click.secho(f"tradealgo: {for_a_terminal(str(error))}", fg="red", err=True)
            sys.exit(WRONG_INPUT if isinstance(error, InvalidInput) else FAILED)

    return wrapped


def for_a_terminal(text: str) -> str:
    """A sentence whose advice is for a notebook, with the commands that do the same here."""
    for call, instead in CALLS:
        text = re.sub(call, instead, text)
    return text


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tradealgo")
def main() -> None:
    """Backtest in a notebook, trade the same strategy class on NSE, and kill it at any moment."""


def command(*arguments: Any, **options: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of `main` whose errors are one sentence."""
    return lambda function: main.command(*arguments, **options)(in_one_sentence(function))


def _find(session: str | None) -> LiveSession:
    from tradealgo.live.session import attach

    return attach(session)


def _readable(folders: Iterable[SessionDir]) -> list[LiveSession]:
    """Sessions whose manifest can be read; of the others stderr has a line: one mustn't hide all."""
    from tradealgo.domain.errors import BadConfig
    from tradealgo.live.session import LiveSession

    found = []
    for folder in folders:
        try:
            found.append(LiveSession(folder))
        except BadConfig as error:
            click.secho(f"tradealgo: {error}", fg="red", err=True)
    return found


def _show(session: LiveSession) -> None:
    """A session's summary: as wide as the terminal, uncut where it goes elsewhere."""
    from rich.console import Console

    from tradealgo.live.terminal import UNCUT, summary

    terminal = sys.stdout.isatty()
    Console(width=None if terminal else UNCUT).print(summary(session, expand=terminal))
    _warn_of([session.id] if session.status == "UNSUPERVISED" else [])


def _warn_of(unsupervised: list[str]) -> None:
    from tradealgo.live.session import UNSUPERVISED

    for session_id in unsupervised:
        click.secho(
            f"{session_id} runs, but {UNSUPERVISED}; `tradealgo kill {session_id}` makes it flat, "
            f"`tradealgo stop {session_id}` ends it",
            fg="red",
        )


@command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(as_json: bool) -> None:
    """Check that this machine can run sessions, and say what to mend."""
    from tradealgo.live.doctor import check_all

    findings = check_all()
    if as_json:
        click.echo(json.dumps([{"check": f.name, "level": f.level, "text": f.text} for f in findings]))
    else:
        colours = {"ok": "green", "note": "yellow", "bad": "red"}
        for finding in findings:
            click.echo(
                click.style(f"{finding.level:>5}", fg=colours[finding.level]) + f"  {finding.name}: {finding.text}"
            )
    if any(f.level == "bad" for f in findings):
        sys.exit(FAILED)


@command()
@click.option("--data", help="A candle file to replay instead of the simulated day.")
@click.option("--symbol", help="What the file is of; else its symbol column or its name says, as infy.csv.")
def demo(data: str | None, symbol: str | None) -> None:
    """Backtest, trade on paper, kill, compare: the quickstart notebook, run by papermill."""
    from tradealgo.live.demo import main as run

    sys.exit(run(data=data, symbol=symbol))


@command()
@click.argument("strategy")
@click.argument("instruments", nargs=-1)
@click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Of the strategy; repeatable."
)
@click.option("--capital", type=float, default=1_000_000, show_default=True, help="Rupees.")
@click.option("--mode", type=click.Choice(["paper", "live"]), default="paper", show_default=True)
@click.option("--units", type=int, help="Units for a target of 1.")
@click.option("--lots", type=int, help="Lots for a target of 1.")
@click.option("--fraction", type=float, help="Of the capital for a target of 1.")
@click.option(
    "--max-loss", type=click.FloatRange(0, 1, min_open=True), default=0.02, show_default=True,
    help="Of the capital: the loss at which the kill switch trips.",
)  # fmt: skip
@click.option("--interval", type=int, default=60, show_default=True, help="Seconds a candle.")
@click.option("--day", help="Paper: the day to play, as 2026-11-23. By default the last trading day that has begun.")
@click.option("--seed", type=int, help="Paper: of the simulated day; 1 by default.")
@click.option("--file", "file", help="Paper: a market file to replay.")
@click.option("--speed", type=float, help="Paper: times real time; 60 by default.")
@click.option(
    "--warm-up", type=int, metavar="DAYS", help="Trading days that the strategy hears before: Kite's, or simulated."
)
@click.option("--account", help="The broker's user id; PAPER1 on paper.")
@click.option("--port", type=int, help="Paper: of the exchange; a free one by default.")
@click.option("--unpromoted", is_flag=True, help="Live: although `tradealgo promote` has not passed the strategy.")
@click.option("--after-loss", is_flag=True, help="Live: although the account's loss limit tripped today.")
@click.option("--foreground", is_flag=True, help="Stay until the session ends, and end it on SIGTERM or Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the session's id.")
def launch(
    strategy: str, instruments: tuple[str, ...], parameters: tuple[str, ...], max_loss: float, foreground: bool,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Start a session: STRATEGY is a shipped class (EmaCross), module:Class or file.py:Class.

    A basket (Hybrid, StraddleManager, MomentumScanner) chooses its INSTRUMENTS itself, unless some are given.
    """
    from tradealgo.domain.limits import Limits
    from tradealgo.live.arguments import market_of, sizing_of, strategy_of
    from tradealgo.live.foreground import stay, told_to_end
    from tradealgo.live.launch import launch as start

    of_market = [options.pop(name) for name in ("day", "seed", "file", "speed")]
    sizing = sizing_of(*(options.pop(name) for name in ("units", "lots", "fraction")))
    options["market"] = market_of(*of_market, live=options["mode"] == "live")
    limits = Limits(max_loss_fraction=max_loss)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C does, it ends what was begun
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):  # what a launch has to say is no JSON
        session = start(strategy_of(strategy, parameters), instruments or None, sizing=sizing, limits=limits, **options)
    told = told_to_end() if foreground else None
    click.echo(json.dumps({"session_id": session.id}) if as_json else repr(session))
    if told is None:
        return
    if stay(session, told):
        _stop(session)
    else:
        click.secho(f"{session.id} ended", fg="red", err=True)
        sys.exit(FAILED)


@command()
@click.argument("session", required=False)
@click.option("--all", "past", is_flag=True, help="Past sessions as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, or a list without SESSION.")
def status(session: str | None, past: bool, as_json: bool) -> None:
    """Running sessions, or one SESSION (its id, or the beginning of it)."""
    from tradealgo.live.terminal import session_row, sessions_text

    if session is not None:
        found = _find(session)
        click.echo(json.dumps(found.snapshot(), default=str)) if as_json else _show(found)
        return
    from tradealgo.config import session_dirs
    from tradealgo.live.supervisor import running_sessions

    folders = session_dirs()
    rows = [session_row(s) for s in _readable(folders if past else running_sessions(folders))]
    if as_json:
        click.echo(json.dumps(rows, default=str))
    elif rows:
        click.echo(sessions_text(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
        _warn_of([r["session_id"] for r in rows if r["status"] == "UNSUPERVISED"])
    else:
        click.echo("no session is running" + ("" if past else " (--all shows past ones)"))


@command()
@click.argument("session", required=False)
@click.option("--once", is_flag=True, help="Show it once and return.")
def attach(session: str | None, once: bool) -> None:
    """Watch a session (the newest running one) until Ctrl-C, which leaves it running."""
    from tradealgo.live.terminal import watch

    found = _find(session)
    if once or found.is_past:
        _show(found)
    else:
        watch(found)


@command()
@click.argument("session", required=False)
@click.option("--reason", default="", help="Why; it is journaled.")
@click.option(
    "--flatten/--halt-only", default=True, help="Flatten and lock (default), or only cancel and enter nothing more."
)
@click.option(
    "--timeout", "timeout_s", type=float, default=30.0, show_default=True, help="Seconds to wait for the broker's flat."
)
def kill(session: str | None, reason: str, flatten: bool, timeout_s: float) -> None:
    """Trip the kill switch, and wait until the broker's own positions say flat."""
    found = _find(session)
    if not flatten:
        found.halt(reason, source="cli")
        found.wait(state="HALTED", timeout_s=timeout_s)
        click.echo(f"{found.id}: HALTED; positions stay as they are")
        return
    if since := _flat_since(found):
        click.echo(f"{found.id} has ended; it was VERIFIED_FLAT at {since}")
        return
    began = time.monotonic()
    reached = found.kill(reason, source="cli")
    ways = [name for name in ("flag", "bus") if reached[name]] + (["signal"] if reached["signalled"] else [])
    click.echo(f"{found.id}: kill asked ({', '.join(ways)})")
    if session is None:
        _tell_others(found)
    try:
        found.wait(state="VERIFIED_FLAT", timeout_s=timeout_s)
    except (TimeoutError, KeyboardInterrupt) as error:
        what = str(error) or f"{found.id}: not waited for any longer"
        raise TimeoutError(f"{what}; the kill goes on: see `tradealgo status {found.id}`") from None
    click.secho(f"{found.id}: VERIFIED_FLAT in {time.monotonic() - began:.1f} s", fg="green")


def _tell_others(killed: LiveSession) -> None:
    """Who types `tradealgo kill` in a hurry may believe that everything is flat."""
    from tradealgo.config import session_dirs
    from tradealgo.live.supervisor import running_sessions

    for each in _readable(f for f in running_sessions(session_dirs()) if f.path != killed.folder.path):
        click.secho(f"{each.manifest.mode} session {each.id} goes on: `tradealgo kill {each.id}`", fg="yellow")


def _flat_since(session: LiveSession) -> str:
    """Of a session that has ended: when its kill was verified with the broker; empty if it wasn't, or still runs."""
    from tradealgo.domain.hours import ist_text
    from tradealgo.live.leftovers import flat_since
    from tradealgo.running import has_ended

    if session.folder.has_sockets or not (since := flat_since(session.folder)) or not has_ended(session.folder):
        return ""  # a kill of what runs is asked without a look at anything
    return ist_text(since, "%d %b %H:%M:%S IST")


@command()
@click.argument("session", required=False)
@click.option("--reason", required=True, help="What was found, and why trading is safe again.")
@click.option("--force", is_flag=True, help="Also on the day of a loss that tripped the kill.")
@click.option(
    "--settle", default="", metavar="TAG", help="Instead, say of an order of unknown fate that it isn't there."
)
@click.option("--found", default="", metavar="ORDER_ID", help="With --settle: the broker has it under this order id.")
def rearm(session: str | None, reason: str, force: bool, settle: str, found: str) -> None:
    """Trade again after a kill, a halt or REDUCING; or settle an order that an alert asks about."""
    from tradealgo.live.rearm import trade_again

    if settle:
        _settle(_find(session), settle, reason, found)
    else:
        click.echo(trade_again(_find(session), reason, source="cli", force=force))


def _settle(session: LiveSession, tag: str, reason: str, found: str) -> None:
    session.settle(tag, reason, source="cli", found=found)
    session.wait(until=lambda s: s.state is not None and "must settle" not in s.state.reason, timeout_s=10)
    click.echo(f"{session.id}: {tag} settled, trading {session.state.trading}")  # type: ignore[union-attr]


@command()
@click.argument("session", required=False)
@click.option("--all", "every", is_flag=True, help="All running sessions of this home.")
def stop(session: str | None, every: bool) -> None:
    """End a session. Positions stay as they are: kill it first to be flat."""
    from tradealgo.config import session_dirs
    from tradealgo.live.supervisor import running_sessions

    running = _readable(running_sessions(session_dirs())) if every or session is None else [_find(session)]
    if len(running) > 1 and not every:
        raise click.UsageError(f"{', '.join(s.id for s in running)} run: say which to stop, or --all")
    found = running or ([] if every else [_find(session)])
    for each in found:
        _stop(each)
    if not found:
        click.echo("no session is running")


def _stop(session: LiveSession) -> None:
    """End it, and say what it leaves."""
    from tradealgo.live.leftovers import left_words

    ran = session.is_running
    session.stop(source="cli")
    said = "stopped" if ran else "it has ended already"
    click.echo(f"{session.id}: {said}{left_words(session.folder, None if ran else time.time_ns())}")


@command()
@click.argument("module")
@click.argument("session", required=False)
@click.option("-n", "lines", type=int, default=50, show_default=True, help="Lines from the end.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
def logs(module: str, session: str | None, lines: int, follow: bool) -> None:
    """The log of a MODULE (gatekeeper, producer, …) of a session."""
    found = _newest(session)
    click.echo(found.logs(module, lines))
    if follow:
        from tradealgo.live.terminal import follow_file

        follow_file(found.folder.logs / f"{module}.log")


@command()
@click.argument("order")
@click.argument("session", required=False)
def explain(order: str, session: str | None) -> None:
    """The story of an ORDER (its tag, order id or request id): tick, candle, signal, request, verdict, calls, fills."""
    from tradealgo.gatekeeper.explain import explain as tell

    found = _newest(session)
    click.echo(tell(found.folder.journal, order))


def _newest(session: str | None) -> LiveSession:
    """A session by id; without, the newest that is running, else the newest of all."""
    from tradealgo.live.day import newest

    return newest(session or "")


@command()
@click.option("--day", help="The day to play, as 2026-11-23. By default the last trading day that has begun.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--file", "file", help="A market file to replay.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="Times real time.")
@click.option("--port", type=int, default=8770, show_default=True, help="On loopback; 0 takes any free one.")
@click.option("--capital", type=float, default=1_000_000, show_default=True, help="Rupees.")
@click.option("--instrument", "instruments", multiple=True, help="List only this one; repeatable.")
@click.option("--wait-for-bell", is_flag=True, help="Stand before the open until POST /_paper/start.")
@click.option("--fault", metavar="NAME", help="Start none: make the newest paper session's misbehave, e.g. http_429.")
@click.option("--with", "details", multiple=True, metavar="KEY=VALUE", help="Of the fault: count=3; repeatable.")
@click.option("--at", "url", help="Of the fault: the exchange's address, as http://127.0.0.1:8770.")
def exchange(
    day: str | None, seed: int, file: str | None, speed: float, port: int, capital: float,
    instruments: tuple[str, ...], wait_for_bell: bool, fault: str | None, details: tuple[str, ...], url: str | None,
) -> None:  # fmt: skip
    """Run the paper exchange alone: point any Kite client at it."""
    if fault is not None:
        from tradealgo.live import faults

        wanted = faults.fault_of(fault, details)
        click.echo(json.dumps(faults.arm(url or faults.session_exchange(None), wanted)))
        return
    from tradealgo.exchange.app import serve
    from tradealgo.live.arguments import market_of
    from tradealgo.live.manifest import checked_market

    market = checked_market(market_of(day, seed, file, speed))
    serve(
        market, list(instruments) or None, port=port, capital=capital, autostart=not wait_for_bell, announce=click.echo
    )


@command()
@click.option("--config", help="The schedule file; notebooks/production/schedule.toml by default.")
@click.option("--once", metavar="NAME", help="Run one job now, and return papermill's exit code.")
@click.option("--list", "listing", is_flag=True, help="Only show when each job runs next, and how its last run ended.")
@click.option("--json", "as_json", is_flag=True, help="With --list: one JSON list.")
def scheduler(config: str | None, once: str | None, listing: bool, as_json: bool) -> None:
    """Run production notebooks by papermill, on NSE's trading days; stays until SIGTERM or Ctrl-C."""
    from tradealgo.live import scheduler as running
    from tradealgo.live.schedule import find_schedule, read_schedule

    def say(text: str) -> None:
        click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    schedule = read_schedule(find_schedule(config))
    if listing:
        _list_jobs(running.job_rows(schedule), as_json)
    elif once is not None:
        job = schedule.job(once)
        sys.exit(running.run_once(schedule, job, say))
    else:
        running.serve(schedule, say)


def _list_jobs(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['job']}: next {row['next']}; {row['notebook']} in {row['kernel']}; last run {row['last']}")


@command()
@click.argument("session", required=False)
@click.option("--list", "listing", is_flag=True, help="Only show what was promoted before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, or a list with --list.")
def promote(session: str | None, listing: bool, as_json: bool) -> None:
    """Let the strategy of an ended paper SESSION (the newest) go live, if it did what its backtest says."""
    from tradealgo.live import promote as promoting

    if listing:
        _list_promotions(promoting.promotions(), as_json)
        return
    found = _newest(session)
    checks, made = promoting.promote(found)
    if as_json:
        rows = [{"check": c.name, "passed": c.passed, "text": c.text} for c in checks]
        click.echo(json.dumps({"session_id": found.id, "promoted": made is not None, "checks": rows}))
    else:
        for check in checks:
            word = click.style("ok", fg="green") if check.passed else click.style("no", fg="red")
            click.echo(f"   {word}  {check.name}: {check.text}")
        click.echo(made.text if made else f"{found.id} was not promoted")
    if made is None:
        sys.exit(FAILED)


def _list_promotions(found: list[Any], as_json: bool) -> None:
    import msgspec

    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for each in found:
        click.echo(each.text)
    if not found:
        click.echo("nothing was promoted yet: `tradealgo promote SESSION` after a paper session")


if __name__ == "__main__":
    main()
