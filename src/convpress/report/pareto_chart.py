"""The Pareto picture: accuracy against cost, as an interactive Vega-Lite chart and as a still picture for paper."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from markupsafe import Markup

from convpress.report import wording as say
from convpress.report.contents import FigureView, picture_size, rst
from convpress.report.frames import records
from convpress.report.pareto import ALL_COSTS, COSTS, FARTHEST, Cost, fronts, in_view, label, networks
from convpress.report.style import GRID, INK, STUDIES, STYLE, lean_svg

# The markers of matplotlib, by the names of Vega.
SHAPES = {"X": "cross", "D": "diamond", "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down"}
SHAPES |= {">": "triangle-right", "P": "cross"}
PALETTE = {study: (look.color, SHAPES[look.marker]) for study, look in STUDIES.items()}
SPARE = [("#aa4499", "triangle-left"), ("#999933", "wedge"), ("#661100", "stroke"), ("#44aa99", "arrow")]
FONT = ", ".join(STYLE["font.sans-serif"])
HEIGHT = 380

CAPTION = (
    "**Accuracy against cost.** Up and to the left is better. Vertical bars are 95 % intervals, the band is the "
    "control's. The line joins the networks that no other one beats on these test images; neighbours on it are often "
    "ties, and times whose quartiles overlap count as equal. Parameters do not count the index that shared weights "
    "need, the file does. The cost axis is logarithmic. Filled marks stand on the line; peers are other libraries in "
    f"the same harness. Networks more than {100 * FARTHEST:.0f} points below the best stand in the table alone."
)

ALTERNATIVE = (
    "Scatter plots of test accuracy against parameters, MACs and milliseconds, a row a network. The same numbers are "
    "in the table of all variants."
)


def points(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What the chart draws, one dict a variant: numbers, words for the tooltip, and on which fronts it lies."""
    frame = in_view(frame)
    flags = {f"front_{cost.column}": fronts(frame, cost.column) for cost in ALL_COSTS}
    shown = frame.assign(**flags)
    return [
        _point(row) | {name: row[name] for name in flags}
        for network in networks(frame)
        for row in records(shown[shown["model"] == network])
    ]


def _point(row: dict[str, Any]) -> dict[str, Any]:
    numbers = ("params", "macs", "latency_ms", "bytes", "test_accuracy", "ci_low", "ci_high")
    words = {
        "Variant": label(row["study"], row["variant"]),
        "Network": row["model"],
        "Accuracy": say.percent(row["test_accuracy"]),
        "95 % interval": say.interval(row["ci_low"], row["ci_high"]) or say.MISSING,
        "Parameters": say.count(row["params"]),
        "MACs": say.count(row["macs"]),
        "Time a batch": say.milliseconds(row["latency_ms"]),
        "File": say.size(row["bytes"]),
    }
    values = {name: None if say.absent(row[name]) else float(row[name]) for name in numbers}
    spoken = ", ".join(f"{key} {value}" for key, value in words.items())
    return values | {"study": row["study"], "spoken": spoken} | words


WORDS = ("Variant", "Network", "Accuracy", "95 % interval", "Parameters", "MACs", "Time a batch", "File")


def _layers(data: str, cost: str, title: Any, scales: tuple[Any, Any]) -> Any:
    """Band, front, intervals and points of the named `data`; `cost` is an expression that gives the horizontal column.

    Marks on the front are filled and come last: others would cover them and take the pointer from them.
    """
    base = alt.Chart(alt.NamedData(name=data)).transform_calculate(
        cost=f"datum[{cost}]", front=f"datum['front_' + {cost}]"
    )
    base = base.transform_filter("isValid(datum.cost) && datum.cost > 0")
    x = alt.X("cost:Q").scale(type="log", nice=False, padding=24).title(title)
    # An expression labels every tick that has room; a format alone leaves out most ticks of a logarithmic axis.
    told = "format(datum.value, '~s')"
    x = x.axis(labelExpr=told, labelOverlap="greedy", labelSeparation=4, tickCount=5, labelFlush=False)
    y = alt.Y("test_accuracy:Q").scale(zero=False, padding=12).title("Test accuracy")
    # Room for the widest label, also when a choice brings wider ones: the title stays where it is.
    y = y.axis(format=".4~%", tickCount=6, minExtent=44)
    band = (
        base.transform_filter("datum.study == 'control'")
        .mark_rect(color="#8a8a8a", opacity=0.16, aria=False)
        .encode(y="ci_low:Q", y2="ci_high:Q", x=alt.value(0), x2=alt.value("width"))
    )
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color=INK, strokeWidth=1.2, strokeDash=[5, 3], aria=False
    )
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.55, aria=False).encode(x=x, y="ci_low:Q", y2="ci_high:Q")
    color, shape = scales
    marks = base.mark_point(size=50, strokeWidth=1.6, opacity=1).encode(
        x=x,
        y=y,
        shape=shape,
        fill=alt.condition("datum.front", color, alt.value("#ffffff")),
        fillOpacity=alt.condition("datum.front", alt.value(0.9), alt.value(0.4)),
        order="front:O",
        tooltip=[alt.Tooltip(f"{name}:N") for name in WORDS],
        description="spoken:N",
    )
    drawn = [band, front.encode(x=x, y=y), bars.encode(color=color), marks.encode(stroke=color)]
    return alt.layer(*drawn)


def _study_scales(values: list[dict[str, Any]], legend: Any = alt.Undefined) -> tuple[Any, Any]:
    """Colour and shape of the studies, the same whatever is chosen; `legend` says which of them it names."""
    studies = list(dict.fromkeys(value["study"] for value in values))
    spare = iter(SPARE * len(studies))
    colors, shapes = zip(*(PALETTE.get(study) or next(spare) for study in studies), strict=True)
    color = alt.Color("study:N").scale(domain=studies, range=list(colors)).title(None).legend(values=legend)
    shape = alt.Shape("study:N").scale(domain=studies, range=list(shapes)).title(None).legend(values=legend)
    return color, shape


def _configured(chart: Any, columns: Any, background: str, data: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    # Points are laid in at the end: each step of building a chart copies and checks all that stands in it.
    specification: dict[str, Any] = (
        chart.configure(font=FONT, background=background)
        .configure_view(stroke=None)
        .configure_axis(gridColor=GRID, labelColor=INK, titleColor=INK, titleFontWeight="normal", labelFontSize=11)
        .configure_legend(
            orient="top", labelColor=INK, labelFontSize=12, symbolSize=90, symbolOpacity=1, columns=columns
        )
        .to_dict()
    )
    return specification | {"datasets": specification.get("datasets", {}) | data}


def interactive(frame: pd.DataFrame) -> dict[str, Any]:
    """The Vega-Lite specification with a choice of the network and of the cost."""
    names, columns = networks(frame), [cost.column for cost in ALL_COSTS]
    radio = alt.binding_radio(options=columns, labels=[cost.name for cost in ALL_COSTS], name="Cost ")
    select = alt.binding_select(options=names, name="Network ") if len(names) > 1 else alt.Undefined
    most = frame.loc[frame["model"].isin(names), "model"].mode()[0]
    choices = [alt.param(name="network", value=most, bind=select), alt.param(name="cost", value=columns[0], bind=radio)]
    values = points(frame)
    present = {name: list(dict.fromkeys(v["study"] for v in values if v["Network"] == name)) for name in names}
    legend = alt.ExprRef(f"({json.dumps(present)})[network]")
    drawn = _layers("points", "cost", None, _study_scales(values, legend)).transform_filter("datum.Network == network")
    # An axis title cannot follow a choice, a text can.
    titles = json.dumps({cost.column: cost.axis for cost in ALL_COSTS})
    title = alt.Chart(alt.Data(values=[{}])).mark_text(fontSize=12, color=INK, aria=False)
    title = title.encode(
        x=alt.value(alt.expr("width / 2")),
        y=alt.value(HEIGHT + 36),
        text=alt.value(alt.expr(f"({titles})[cost]")),
    )
    chart = alt.layer(drawn, title).properties(width="container", height=HEIGHT, padding=4).add_params(*choices)
    return _configured(chart, alt.ExprRef("width < 420 ? 2 : width < 700 ? 4 : 8"), "transparent", {"points": values})


def still(frame: pd.DataFrame) -> FigureView | None:
    """The same for paper and for browsers without scripts: a row of panels a network; None when no cost is known."""
    values, rows = points(frame), []
    data = {name: [value for value in values if value["Network"] == name] for name in networks(frame)}
    scales = _study_scales(values)  # of all panels, for Vega merges the scales of panels by the first one's
    for network, part in data.items():
        panels = [_panel(cost, network, scales) for cost in COSTS if any(value[cost.column] for value in part)]
        rows += [alt.hconcat(*panels)] if panels else []
    if not rows:
        return None
    drawn = vl_convert.vegalite_to_svg(_configured(alt.vconcat(*rows), 6, "#ffffff", data))
    picture = lean_svg(drawn).encode()
    width, height = picture_size(picture)
    source = Markup(f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}")
    return FigureView("comparison", source, ALTERNATIVE, rst(CAPTION), width, height)


def _panel(cost: Cost, network: str, scales: tuple[Any, Any]) -> Any:
    return _layers(network, f"'{cost.column}'", cost.axis, scales).properties(width=230, height=230, title=network)


@cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed`."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Its parser of schema addresses has a property that reads like a hidden folder; a page names no folders.
    return re.sub(r"\.(library)\b", r'["\1"]', script)
