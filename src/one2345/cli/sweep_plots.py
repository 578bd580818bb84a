"""Figures of a sweep: objective by task, against each setting, and the course of validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from one2345.cli.run_status import State
from one2345.cli.sweep_table import Row, SweepTable
from one2345.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREY, RED, ORANGE = "#2f6fed", "#9aa4b2", "#c2384b", "#e07b39"
# An axis is logarithmic from this ratio of its ends on.
WIDE = 20.0
COLOURS = {State.FAILED: RED, State.PREEMPTED: ORANGE, State.INTERRUPTED: ORANGE, State.RUNNING: GREY}


def write_plots(table: SweepTable, out: Path) -> list[Path]:
    """PNG and SVG of every figure that the tasks give something to draw for; the paths of the SVGs."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise InputError(
            "the plots need matplotlib: pip install 'one2345[sweep]', or --no-plots leaves them out"
        ) from error
    figures = {"objective": _objective(table), "settings": _settings(table), "curves": _curves(table)}
    paths = []
    with mpl.rc_context({"svg.hashsalt": "one2345", "svg.fonttype": "none", "font.size": 9}):
        for name, figure in figures.items():
            if figure is None:
                continue
            figure.savefig(out / f"{name}.png", dpi=150)
            figure.savefig(out / f"{name}.svg", metadata={"Date": None})
            paths.append(out / f"{name}.svg")
    return paths


def _figure(
    columns: int = 1, lines: int = 1, *, width: float = 9.0, height: float = 3.4
) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * lines), layout="constrained")
    return figure, figure.subplots(lines, columns, squeeze=False)


def _done(table: SweepTable) -> list[Row]:
    return [r for r in table.rows if r.state is State.FINISHED and r.objective is not None]


def _objective(table: SweepTable) -> Figure | None:
    """Every finished task, the best so far as a line, the others as marks on the lower edge."""
    done = _done(table)
    if not table.rows:
        return None
    figure, ((axes,),) = _figure()
    values = [float(r.objective or 0) for r in done]
    axes.plot([r.number for r in done], values, "o", color=BLUE, label="finished")
    if done:
        best = [max(values[: i + 1]) for i in range(len(values))]
        axes.step([r.number for r in done], best, where="post", color=BLUE, alpha=0.4, label="best so far")
    floor = min(values, default=0.0)
    for state, colour in COLOURS.items():
        numbers = [r.number for r in table.rows if r.state is state]
        if numbers:
            axes.plot(numbers, [floor] * len(numbers), "x", color=colour, label=state.value)
    axes.set(xlabel="task", ylabel="objective")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def _settings(table: SweepTable) -> Figure | None:
    """The objective against each setting that varies."""
    done = _done(table)
    if not done or not table.settings:
        return None
    columns = min(3, len(table.settings))
    lines = -(-len(table.settings) // columns)
    figure, grid = _figure(columns, lines, height=3.0)
    flat = [axes for line in grid for axes in line]
    for axes, name in zip(flat, table.settings, strict=False):
        _against(axes, name, [(r.settings.get(name, "default"), float(r.objective or 0)) for r in done])
    for axes in flat[len(table.settings) :]:
        axes.set_axis_off()
    return figure


def _against(axes: Axes, name: str, points: Sequence[tuple[str, float]]) -> None:
    values = [value for _, value in points]
    numbers = _numbers([text for text, _ in points])
    if numbers is not None:
        axes.plot(numbers, values, "o", color=BLUE)
        if min(numbers) > 0 and max(numbers) / min(numbers) > WIDE:
            axes.set_xscale("log")
    else:
        names = sorted({text for text, _ in points})
        axes.plot([names.index(text) for text, _ in points], values, "o", color=BLUE)
        axes.set_xticks(range(len(names)), [_plain(_short(n)) for n in names])
        axes.margins(x=0.2)
    axes.set(xlabel=_plain(name), ylabel="objective")


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None


def _curves(table: SweepTable) -> Figure | None:
    """Validation by step, a line for each task, the best one strong."""
    rows = [r for r in table.rows if r.curve]
    if not rows:
        return None
    figure, ((axes,),) = _figure()
    best = table.best
    for row in rows:
        strong = best is not None and row.number == best.number
        axes.plot(
            [step for step, _ in row.curve],
            [value for _, value in row.curve],
            color=BLUE if strong else COLOURS.get(row.state, GREY),
            linewidth=2.0 if strong else 0.9,
            marker="." if len(row.curve) < 30 else None,
            label=f"task {row.number}, the best" if strong else None,
            zorder=3 if strong else 2,
        )
    axes.set(xlabel="step", ylabel=rows[0].score or "")
    if best is not None and best.curve:
        axes.legend(frameon=False)
    return figure


def _short(text: str) -> str:
    return text if len(text) <= 18 else f"…{text[-17:]}"


def _plain(text: str) -> str:
    """Without the dollar signs between which matplotlib would read mathematics."""
    return text.replace("$", r"\$")
