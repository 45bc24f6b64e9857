"""Pictures of the honesty tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tradealgo.research.figures import DOWN, EQUITY, LOSS, PRICE, UP, add_line, label_times

if TYPE_CHECKING:
    from tradealgo.research.deflated_sharpe import DeflatedSharpe
    from tradealgo.research.monte_carlo import MonteCarlo
    from tradealgo.research.walk_forward import WalkForward

_LOOKS: dict[str, Any] = {"template": "plotly_white", "margin": {"l": 80, "r": 20, "t": 80, "b": 50}}
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"}


def walk_forward_figure(result: WalkForward) -> Any:
    """Stitched equity over shaded windows, and bars of profit a day in training and test."""
    from plotly.subplots import make_subplots

    equity, table = result.equity, result.table
    figure = make_subplots(rows=2, cols=1, row_heights=[0.6, 0.4], vertical_spacing=0.13)
    place = pd.Series(np.arange(len(equity)), equity.index)
    add_line(figure, 1, equity, place, EQUITY, "out of sample")
    label_times(figure, equity.index)
    end = 0
    for number, step in enumerate(result.steps):
        begin, end = end, end + len(step.test.equity)
        shade = "rgba(47,111,222,0.07)" if number % 2 else "rgba(0,0,0,0)"
        figure.add_vrect(x0=begin, x1=end, fillcolor=shade, line_width=0, layer="below", row=1, col=1)
    figure.add_hline(y=result.capital, line_dash="dot", line_color=PRICE, row=1, col=1)
    for name, color in (("train", PRICE), ("test", EQUITY)):
        figure.add_bar(
            x=[f"{day:%d %b %y}" for day in table["test from"]], y=table[f"{name} profit"] / table[f"{name} days"],
            name={"train": "training", "test": "test"}[name], marker_color=color, row=2, col=1,
            customdata=[str(s.point) for s in result.steps],
            hovertemplate="%{y:+,.0f} rupees a day<br>%{customdata}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(type="category", tickmode="auto", tickvals=None, ticktext=None, title="test from", row=2, col=1)
    figure.update_yaxes(title_text="equity, Rs", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(title_text="Rs a day", tickformat=",.0f", row=2, col=1)
    title = f"{result.cls.__name__}, out of sample: {result.profit:+,.0f} rupees in {len(result)} windows"
    figure.update_layout(title=title, height=600, legend={**_LEGEND, "y": 0.36}, barmode="group", **_LOOKS)
    return figure


def monte_carlo_figure(result: MonteCarlo) -> Any:
    """Bands of equity by trade, and how deep the runs fell."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=1, cols=2, column_widths=[0.62, 0.38], horizontal_spacing=0.1,
        subplot_titles=("equity by trade", "deepest drawdown of a run"),
    )  # fmt: skip
    low, quarter, middle, three, high = result.bands
    for top, bottom, name, alpha in ((high, low, "9 of 10 runs", 0.14), (three, quarter, "half of the runs", 0.26)):
        edges = np.concatenate([result.steps, result.steps[::-1]])
        figure.add_scatter(
            x=edges, y=np.concatenate([top, bottom[::-1]]), fill="toself", fillcolor=f"rgba(47,111,222,{alpha})",
            line={"width": 0}, name=name, hoverinfo="skip", row=1, col=1,
        )  # fmt: skip
    for y, name, color in ((middle, "median", EQUITY), (result.actual, "the backtest", DOWN)):
        figure.add_scatter(x=result.steps, y=y, mode="lines", name=name, line={"color": color}, row=1, col=1)
    figure.add_histogram(
        x=result.drawdowns * 100.0, nbinsx=40, marker_color=PRICE, showlegend=False, row=1, col=2,
        hovertemplate="%{x} %: %{y} runs<extra></extra>",
    )  # fmt: skip
    _mark(figure, result.actual_drawdown * 100.0, "the backtest", DOWN, 2, "top left")
    figure.update_xaxes(title_text="trades", row=1, col=1)
    figure.update_xaxes(ticksuffix=" %", row=1, col=2)
    figure.update_yaxes(title_text="equity, Rs", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(title_text="runs", row=1, col=2)
    title = f"Monte Carlo over trades: {len(result.finals):,} runs, {result.chance_of_loss:.0%} of them lose"
    legend = {"orientation": "h", "y": -0.18, "x": 0}
    figure.update_layout(title=title, height=460, legend=legend, bargap=0.05, **_LOOKS)
    return figure


def deflated_sharpe_figure(result: DeflatedSharpe) -> Any:
    """The points' Sharpe ratios, with the best one and the luckiest to expect."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Histogram(x=result.sharpes, nbinsx=50, marker_color=PRICE, hovertemplate="%{x}: %{y} points<extra></extra>")
    )
    _mark(figure, result.luckiest, f"luckiest to expect {result.luckiest:.2f}", LOSS, position="top left")
    _mark(figure, result.sharpe, f"the best {result.sharpe:.2f}", UP)
    figure.update_layout(
        title=f"Sharpe ratios of {len(result.sharpes)} points: {result.percent} that the best is more than luck",
        height=420, bargap=0.05, xaxis={"title": "Sharpe ratio, annualised"}, yaxis={"title": "points"}, **_LOOKS,
    )  # fmt: skip
    return figure


def _mark(figure: Any, x: float, text: str, color: str, column: int | None = None, position: str = "top right") -> None:
    where = {} if column is None else {"row": 1, "col": column}
    figure.add_vline(
        x=x, line_color=color, line_width=2, annotation_text=text, annotation_position=position,
        annotation_font_color=color, **where,
    )  # fmt: skip
