"""How a run learns: accuracy, loss terms and label-free scores over the epochs.

The live board draws this figure again and again, hence the care about time: placing in inches,
and long lines thinned to the mean of neighbouring steps.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter, SymmetricalLogLocator

from socketlab.figures.style import MUTED, OKABE_ITO, place, sheet, signed, styled, write

FloatArray = npt.NDArray[np.float64]
Series = dict[str, tuple[FloatArray, FloatArray]]

ACCURACIES: Final[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "train_accuracy")
_MOST_POINTS: Final = 300
_LARGE_SPREAD: Final = 30.0
_STYLES: Final = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)))
_REFERENCE_STYLES: Final = ((0, (6, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)), (0, (3, 2)))


@styled
def learning_curves(
    history: pd.DataFrame,
    references: Mapping[str, float] | None = None,
    title: str | None = None,
    *,
    panel_width: float = 3.7,
) -> Figure:
    """Panels for accuracy, loss terms and label-free scores, each where `history` has any.

    `history` is in long form: `epoch` (may be fractional), `name`, `value`. Names: `accuracy`,
    `balanced_accuracy`, `train_accuracy` (shares in [0, 1]), `loss/<term>`, `score/<name>`; others
    are left out. `references` are accuracies drawn as level lines (source_only, an oracle). Loss
    terms of very unlike size get a logarithmic axis (a symmetric one where a term is negative).
    Two or more scores are each drawn over their own range, and the legend gives first and last.
    Raises ValueError for a missing column or an accuracy outside [0, 1].
    """
    missing = [name for name in ("epoch", "name", "value") if name not in history.columns]
    if missing:
        raise ValueError(
            f"The history has no column {missing[0]!r}. Give epoch, name and value in long form."
        )
    series = _series(history)
    accuracies = {name: series[name] for name in ACCURACIES if name in series}
    _check_shares({name: values for name, (_, values) in accuracies.items()})
    _check_shares({name: np.array([value]) for name, value in (references or {}).items()})
    losses = _under("loss/", series)
    scores = _under("score/", series)
    panels = [name for name, part in (("a", accuracies), ("l", losses), ("s", scores)) if part]
    head = 0.45 if title else 0.1
    if not panels:
        figure = sheet(panel_width + 1.0, head + 0.7)
        write(figure, "Nothing measured yet", 0.2, head, size=11, colour=MUTED)
        if title:
            write(figure, title, 0.2, 0.14, size=12.5, bold=True)
        return figure
    entries = max(len(accuracies) + len(references or {}), len(losses), len(scores))
    plot_height = 2.3
    foot = 0.58 + 0.2 * entries
    gap = 0.85
    figure = sheet(len(panels) * (panel_width + gap) + 0.35, head + 0.32 + plot_height + foot)
    if title:
        write(figure, title, 0.2, 0.14, size=12.5, bold=True)
    last_epoch = max(float(epochs[-1]) for epochs, _ in series.values())
    for position, panel in enumerate(panels):
        left = 0.72 + position * (panel_width + gap)
        axes = place(figure, left, head + 0.32, panel_width, plot_height)
        if panel == "a":
            _accuracy_panel(axes, accuracies, references or {})
        elif panel == "l":
            _loss_panel(axes, losses)
        else:
            _score_panel(axes, scores)
        _finish(axes, last_epoch, plot_height)
    return figure


def _series(history: pd.DataFrame) -> Series:
    """Each name's epochs and values, in the order of epochs, without NaN, thinned."""
    names = history["name"].to_numpy(dtype=object)
    epochs = history["epoch"].to_numpy(dtype=np.float64)
    values = history["value"].to_numpy(dtype=np.float64)
    codes, found = pd.factorize(names)
    result: Series = {}
    for code, name in enumerate(found):
        chosen = (codes == code) & np.isfinite(values)
        if not chosen.any():
            continue
        order = np.argsort(epochs[chosen], kind="stable")
        result[str(name)] = _thin(epochs[chosen][order], values[chosen][order])
    return result


def _thin(epochs: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    size = -(-len(values) // _MOST_POINTS)
    if size == 1:
        return epochs, values
    starts = np.arange(0, len(values), size)
    counts = np.diff(np.append(starts, len(values)))
    return np.add.reduceat(epochs, starts) / counts, np.add.reduceat(values, starts) / counts


def _under(prefix: str, series: Series) -> Series:
    part = {n.removeprefix(prefix): s for n, s in series.items() if n.startswith(prefix)}
    return dict(sorted(part.items(), key=lambda item: (item[0] != "total", item[0])))


def _check_shares(values: Mapping[str, FloatArray]) -> None:
    for name, array in values.items():
        if array.min() < 0.0 or array.max() > 1.0 + 1e-9:
            raise ValueError(
                f"{name} reaches {array.min():g} to {array.max():g}. Give accuracies as shares "
                "between 0 and 1."
            )


def _line(axes: Axes, number: int, epochs: FloatArray, values: FloatArray, label: str) -> None:
    few = len(values) <= 12
    axes.plot(
        epochs,
        values,
        color=OKABE_ITO[number % len(OKABE_ITO)],
        linestyle=_STYLES[number % len(_STYLES)],
        marker="o" if few else "",
        markersize=5,
        linewidth=1.9,
        label=label,
    )


def _accuracy_panel(axes: Axes, accuracies: Series, references: Mapping[str, float]) -> None:
    for number, (name, (epochs, values)) in enumerate(accuracies.items()):
        _line(axes, number, epochs, values, f"{name.replace('_', ' ')} {100 * values[-1]:.1f} %")
    for number, (name, value) in enumerate(references.items()):
        axes.axhline(
            value,
            color=MUTED,
            linewidth=1.5,
            linestyle=_REFERENCE_STYLES[number % len(_REFERENCE_STYLES)],
            label=f"{name} {100 * value:.1f} %",
        )
    drawn = np.concatenate([values for _, values in accuracies.values()])
    everything = np.append(drawn, list(references.values()))
    low, high = float(everything.min()), float(everything.max())
    margin = max(0.02, 0.08 * (high - low))
    axes.set_ylim(max(0.0, low - margin), min(1.0, high + margin) + 0.002)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=None))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if high - low < 0.04:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1, symbol=None))
    axes.set_ylabel("Accuracy (%)")
    axes.set_title("Accuracy")


def _loss_panel(axes: Axes, losses: Series) -> None:
    for number, (name, (epochs, values)) in enumerate(losses.items()):
        _line(axes, number, epochs, values, f"{name.replace('_', ' ')} {_number(values[-1])}")
    sizes = [float(np.median(np.abs(values))) for _, values in losses.values()]
    sizes = [size for size in sizes if size > 0.0]
    lowest = min(float(values.min()) for _, values in losses.values())
    spread = max(sizes) / min(sizes) if sizes else 1.0
    words = "Loss"
    if spread >= _LARGE_SPREAD and lowest > 0.0:
        axes.set_yscale("log")
        words = "Loss (log scale)"
    elif spread >= _LARGE_SPREAD:
        # Powers of ten only, and the linear part ends at one of them: ticks never collide.
        linear = 10.0 ** max(np.floor(np.log10(min(sizes))), np.floor(np.log10(max(sizes))) - 3)
        axes.set_yscale("symlog", linthresh=linear, linscale=0.6)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(f"{value:g}")))
        words = "Loss (symmetric log scale)"
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_ylabel(words)
    axes.set_title("Loss terms")


def _score_panel(axes: Axes, scores: Series) -> None:
    several = len(scores) > 1
    for number, (name, (epochs, values)) in enumerate(scores.items()):
        drawn = values
        if several:
            span = float(values.max() - values.min())
            level = (number + 1) / (len(scores) + 1)
            drawn = (values - values.min()) / span if span > 0.0 else np.full_like(values, level)
        label = f"{name.replace('_', ' ')} {_number(values[-1])}"
        if len(values) > 1:
            first, last = (_number(value, 2) for value in (values[0], values[-1]))
            label = f"{name.replace('_', ' ')} {first} → {last}"
        _line(axes, number, epochs, drawn, label)
    if several:
        axes.set_ylim(-0.06, 1.06)
        axes.set_yticks([0.0, 0.5, 1.0], ["lowest", "", "highest"])
        axes.set_ylabel("Each over its own range", labelpad=-14)
    else:
        axes.set_ylabel(next(iter(scores)).replace("_", " "))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_title("Label-free scores")


def _finish(axes: Axes, last_epoch: float, plot_height: float) -> None:
    axes.set_xlim(0.0, max(1.0, last_epoch) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("Epoch")
    axes.grid(axis="y")
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.48 / plot_height),
        borderaxespad=0.0,
        labelspacing=0.25,
        handlelength=2.6,
    )


def _number(value: float, digits: int = 3) -> str:
    return signed(f"{value:.{digits}g}")
