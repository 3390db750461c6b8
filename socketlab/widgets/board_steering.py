"""Sliders for loss weights and learning rate that are heard while a cell runs.

The state of a slider of ipywidgets is held back by the front end until it has heard that the
kernel is idle: while a cell runs only the first move arrives. A message of one's own, as that of a
button's click, always arrives, and such are what these sliders send.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import anywidget
import traitlets

from socketlab.figures.style import FAINT, INK, MUTED, OKABE_ITO, PAPER
from socketlab.training.controls import LEARNING_RATE_FACTOR, WEIGHT

FACTORS: Final = (0.1, 3.0)
MOST_TIMES: Final = 4.0  # a weight goes from 0 to so many times what it was at first

_SCRIPT: Final = """
function number(value) { return Number(value.toPrecision(3)).toString(); }

function line(row, model) {
  const box = document.createElement("div"), label = document.createElement("label");
  const slider = document.createElement("input"), said = document.createElement("output");
  const reset = document.createElement("button"), id = "steer-" + crypto.randomUUID();
  box.className = "line";
  box.dataset.name = row.name;
  label.textContent = row.label;
  label.htmlFor = slider.id = id;
  label.title = slider.title = row.tooltip;
  slider.type = "range";
  slider.min = row.low; slider.max = row.high; slider.step = row.step;
  reset.type = "button";
  reset.textContent = "reset";
  reset.title = row.label + ": back to " + number(row.start);
  let waiting = null;
  const say = () => {
    said.textContent = number(slider.valueAsNumber);
    slider.setAttribute("aria-valuetext", row.label + " " + said.textContent);
  };
  const send = () => {
    waiting = null;
    model.send({ name: row.name, value: slider.valueAsNumber });
  };
  // A key pressed five times is one change, not five.
  const soon = () => { say(); clearTimeout(waiting); waiting = setTimeout(send, 250); };
  slider.addEventListener("input", say);
  slider.addEventListener("change", soon);
  slider.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10,
      PageUp: 10, Home: -1000, End: 1000 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    slider.value = slider.valueAsNumber + moves[event.key] * row.step;  // it keeps its range
    soon();
  });
  reset.addEventListener("click", () => { slider.value = row.start; soon(); });
  box.show = (value) => {
    if (waiting === null && !slider.matches(":active")) { slider.value = value; say(); }
  };
  box.disable = (off) => { slider.disabled = reset.disabled = off; };
  box.append(label, slider, said, reset);
  box.show(row.value);
  return box;
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "steering";
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Loss weights and learning rate");
  // Lab has plans of its own for the arrow keys: hence this, and the sliders' own keys.
  root.dataset.lmSuppressShortcuts = "true";
  let names = "";
  const draw = () => {
    const rows = model.get("rows"), found = JSON.stringify(rows.map((row) => row.name));
    if (found !== names) {
      names = found;
      root.replaceChildren(...rows.map((row) => line(row, model)));
    }
    rows.forEach((row, place) => root.children[place].show(row.value));
    for (const box of root.children) box.disable(model.get("disabled"));
  };
  model.on("change:rows", draw);
  model.on("change:disabled", draw);
  el.appendChild(root);
  draw();
  model.send({ seen: true });
}

export default { render };
"""

_LOOK: Final = f"""
.steering {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr));
  gap: 2px 28px; padding: 4px 8px; font-size: 14px; color: {INK}; background: {PAPER}; }}
.steering .line {{ display: grid; grid-template-columns: 258px 1fr 56px 52px; gap: 10px;
  align-items: center; }}
.steering label {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
.steering input {{ accent-color: {OKABE_ITO[0]}; width: 100%; margin: 0; }}
.steering input:focus-visible, .steering button:focus-visible {{
  outline: 2px solid {OKABE_ITO[1]}; outline-offset: 2px; }}
.steering output {{ text-align: right; font-variant-numeric: tabular-nums; }}
.steering button {{ font: inherit; font-size: 12px; color: {MUTED}; background: {PAPER};
  border: 1px solid {FAINT}; border-radius: 3px; }}
.steering :disabled {{ opacity: 0.55; }}
"""


@dataclass(frozen=True)
class Row:
    """One slider: what it is called, its range, what it was at first and what it is now."""

    name: str
    label: str
    tooltip: str
    low: float
    high: float
    step: float
    start: float
    value: float


class Steering(anywidget.AnyWidget):
    """Sliders, each with its label, its value and a button back to the first value.

    Args:
        moved: is told the name, as in `Change`, and the new value of a slider that was moved.

    Attributes:
        seen: whether a front end has drawn the sliders, so that there is somebody who sees them.
    """

    _esm = _SCRIPT
    _css = _LOOK
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(self, moved: Callable[[str, float], None]) -> None:
        super().__init__()
        self._moved = moved
        self._rows: dict[str, Row] = {}
        self.seen = False
        self.on_msg(self._heard)

    def offer(self, factor: float, weights: Mapping[str, float]) -> None:
        """Bring the sliders in line with what is in force; ranges stay as they were at first."""
        values = {LEARNING_RATE_FACTOR: factor} | {WEIGHT + name: w for name, w in weights.items()}
        self._rows = {
            name: Row(**{**asdict(self._rows.get(name) or _row(name, value)), "value": value})
            for name, value in values.items()
        }
        self._share()

    def _share(self) -> None:
        self.rows = [asdict(row) for row in self._rows.values()]

    def _heard(self, _: Any, content: Any, __: Any) -> None:
        self.seen = True
        row = self._rows.get(str(content.get("name")))
        if row is None or self.disabled:
            return
        value = float(content["value"])
        if not math.isfinite(value):
            return
        self._moved(row.name, round(min(max(value, row.low), row.high), 9))


def _row(name: str, value: float) -> Row:
    """The range of a slider that begins at `value`."""
    if name == LEARNING_RATE_FACTOR:
        low, high = FACTORS
        tooltip = "Multiplies the learning rate from the next step on; arrow keys move it"
        return Row(name, "Learning-rate factor", tooltip, low, high, 0.1, 1.0, value)
    term = name.removeprefix(WEIGHT).replace("_", " ")
    # A term that counts nothing yet can be given any weight that losses commonly have.
    high = MOST_TIMES * value if value > 0 else 1.0
    tooltip = (
        f"Weight of the loss term {term} from the next step on, 0 to {high:g}; arrow keys move it"
    )
    return Row(name, f"Weight of {term}", tooltip, 0.0, high, high / 80, value, value)
