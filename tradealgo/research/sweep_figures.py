"""Pictures of a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tradealgo.research.figures import DOWN, UP


def heatmap(table: pd.DataFrame, x: str, y: str, by: str) -> Any:
    """A figure's median over two parameters, as a plotly Figure."""
    import plotly.graph_objects as go

    wide = table.pivot_table(index=y, columns=x, values=by, aggfunc="median")
    scale, middle = _scale(wide.to_numpy())
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(), x=wide.columns.astype(str), y=wide.index.astype(str), colorscale=scale,
            zmid=middle, colorbar={"title": by},
            hovertemplate=f"{x} %{{x}}, {y} %{{y}}: {by} %{{z:.4g}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        title=f"{by} by {x} and {y}: trust broad plateaus, not single peaks", template="plotly_white", height=520,
        xaxis={"title": x, "type": "category"}, yaxis={"title": y, "type": "category"},
    )  # fmt: skip
    return figure


def parallel(table: pd.DataFrame, names: list[str], by: str) -> Any:
    """All points as lines over their parameters, coloured by a figure."""
    import plotly.graph_objects as go

    shown = table.dropna(subset=[by])
    axes = [_axis(shown[n], n) for n in [*names, by]]
    scale, middle = _scale(shown[by].to_numpy())
    line = {"color": shown[by], "colorscale": scale, "cmid": middle, "showscale": True, "colorbar": {"title": by}}
    figure = go.Figure(go.Parcoords(line=line, dimensions=axes))
    figure.update_layout(
        title=f"Points by {by}: drag along an axis to choose a part", template="plotly_white", height=480
    )
    return figure


def _scale(values: np.ndarray) -> tuple[Any, float | None]:
    """Colours, and what is in their middle: of gains and losses zero, else none, and no gain looks like a loss."""
    if np.nanmin(values, initial=0.0) < 0.0 < np.nanmax(values, initial=0.0):
        return [[0.0, DOWN], [0.5, "#e4e7eb"], [1.0, UP]], 0.0
    return "Cividis", None


def _axis(values: pd.Series, name: str) -> dict[str, Any]:
    if values.dtype.kind in "if":
        return {"label": name, "values": values}
    codes, labels = pd.factorize(values)
    return {"label": name, "values": codes, "tickvals": list(range(len(labels))), "ticktext": [str(v) for v in labels]}
