"""What the live board says in HTML: numbers, answers by class, examples, changes made by hand.

HTML and not a figure: it costs a hundredth of the time, and a screen reader can read it.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from socketlab.figures.style import FAINT, INK, MUTED, PAPER, RIGHT, WRONG, class_colours
from socketlab.training.controls import Change
from socketlab.training.inference import Score
from socketlab.training.steps import Look
from socketlab.widgets.thumbnails import data_uri, thumbnail

Rows = npt.NDArray[np.int64]

MOST_EXAMPLES: Final = 8
MOST_CHANGES: Final = 4
PARTS_HEIGHT: Final = 190  # pixels, of the answers and of the examples: the board never jumps
_SIDE: Final = 84
_MARKS: Final[Mapping[bool, str]] = {True: "✓", False: "✗"}


class Subject(Protocol):
    """What is trained on: what the examples and the names of classes on the board come from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""

    @property
    def truth(self) -> Sequence[int]:
        """The true class of every scored image, in the order of `Score.answers`."""

    def picture(self, row: int) -> Any:
        """A scored image, uint8 [H, W, 3], or None where there is no picture of it."""

    def painted(self) -> bytes | None:
        """The newest translations as a PNG, or None where nothing is translated."""


@dataclass(frozen=True)
class Turned:
    """The images whose answer became another one, `rows` of the scored images."""

    rows: Rows
    before: Rows
    now: Rows
    truth: Rows

    @classmethod
    def between(cls, before: Rows, now: Rows, truth: Rows) -> "Turned":
        """Those of N images whose answer differs; all three are class indices [N].

        They come in a fixed random order, so that those that are shown flatter no model. Raises
        ValueError for unequal lengths.
        """
        if not len(before) == len(now) == len(truth):
            raise ValueError(
                f"Found {len(before)} answers before, {len(now)} now and {len(truth)} true classes."
                " Give one of each per scored image."
            )
        order = np.random.default_rng(0).permutation(len(now))
        rows = order[before[order] != now[order]]
        return cls(rows, before[rows], now[rows], truth[rows])

    @property
    def summary(self) -> str:
        """`12 answers changed: 7 corrected, 3 broken, 2 wrong both times`."""
        corrected = int((self.now == self.truth).sum())
        broken = int((self.before == self.truth).sum())
        neither = len(self.rows) - corrected - broken
        noun = "answer" if len(self.rows) == 1 else "answers"
        return (
            f"{len(self.rows)} {noun} changed: {corrected} corrected, {broken} broken, "
            f"{neither} wrong both times"
        )


def status_html(title: str, line: str) -> str:
    """What is trained, and where it is."""
    return f'<div style="{_PLAIN}"><b>{html.escape(title)}</b>: {html.escape(line)}</div>'


def numbers_html(score: Score | None, references: Mapping[str, float]) -> str:
    """Accuracy and balanced accuracy in large letters, beside them what is known to compare with.

    `references` are accuracies, shares in [0, 1].
    """
    if score is None:
        return ""
    if not score.accuracies:
        return f'<div style="{_PLAIN};color:{MUTED}">No labelled image: there is no accuracy.</div>'
    shown = [
        ("accuracy", score.accuracy, RIGHT),
        ("balanced accuracy", score.balanced_accuracy, INK),
    ]
    parts = [
        f'<span><b style="font-size:24px;color:{colour}">{value:.1%}</b> {name}</span>'
        for name, value, colour in shown
    ]
    parts += [
        f'<span style="color:{MUTED}">{html.escape(_words(name))} {value:.1%}</span>'
        for name, value in references.items()
    ]
    return (
        f'<div style="{_PLAIN};display:flex;gap:24px;align-items:baseline">{"".join(parts)}</div>'
    )


def terms_html(terms: Mapping[str, float], weights: Mapping[str, float]) -> str:
    """The loss terms as they are now, each with the weight that it counts with."""
    parts = [
        f"{html.escape(_words(name))} <b>{value:.3g}</b>"
        + (f" &times; {weights[name]:.3g}" if name in weights else "")
        for name, value in sorted(terms.items(), key=lambda term: [*weights, *terms].index(term[0]))
    ]
    return f'<div style="{_PLAIN};{_ONE_LINE}">Loss: {_BETWEEN.join(parts)}</div>' if parts else ""


def answers_html(predicted: Sequence[int], classes: Sequence[str], about: str) -> str:
    """A bar for each of K classes: how many images it is answered on, and how even that is.

    Evenness is the entropy of the shares over log K: 1 for all classes alike often, 0 for one
    answer for all. The thin line is an even share. Nothing where there are no answers.
    """
    total, look = sum(predicted), Look(predicted=tuple(predicted))
    if total == 0 or len(predicted) < 2:
        return ""
    evenness = max(0.0, look.predicted_entropy / math.log(len(predicted)))
    most = max(predicted)
    even = 100 * min(1.0, total / len(predicted) / most)
    coloured = [(html.escape(_words(n)), c) for n, c in class_colours(classes).items()]
    bars = "".join(
        f'<span style="{_ONE_LINE}" title="{name}">{name}</span>'
        f'<span style="background:linear-gradient({INK},{INK}) {even:.1f}% 0/1px 100% no-repeat,'
        f"linear-gradient({colour},{colour}) 0 50%/{100 * count / most:.1f}% 11px no-repeat"
        f'"></span><span style="text-align:right">{count:,}</span>'
        for (name, colour), count in zip(coloured, predicted, strict=True)
    )
    warning = f' <b style="color:{WRONG}">▼ {html.escape(look.note)}</b>' if look.note else ""
    return (
        f'<div style="{_PLAIN};height:{PARTS_HEIGHT}px;overflow:auto" tabindex="0" role="region" '
        f'aria-label="Answers by class"><b>Answers on {total:,} {html.escape(about)}</b>, '
        f"evenness {evenness:.2f}{warning}"
        f'<div style="display:grid;grid-template-columns:110px 1fr 44px;gap:0 8px;line-height:17px;'
        f'font-size:13px;margin-top:4px">{bars}</div></div>'
    )


def examples_html(turned: Turned | None, subject: Subject | None, epoch: int) -> str:
    """Some images whose answer changed at `epoch`: the truth, and the answer before and now."""
    if turned is None or subject is None:
        words = "" if subject is None else "From the second look on: images whose answer changed."
        return f'<div style="{_PLAIN};height:{PARTS_HEIGHT}px;color:{MUTED}">{words}</div>'
    cards = "".join(
        _card(subject, *(int(part[place]) for part in _columns(turned)))
        for place in range(min(MOST_EXAMPLES, len(turned.rows)))
    )
    return (
        f'<div style="{_PLAIN};height:{PARTS_HEIGHT}px;overflow:auto" tabindex="0" role="region" '
        f'aria-label="Images whose answer changed"><b>Epoch {epoch}: {turned.summary}</b>'
        f'<div style="display:flex;gap:10px;margin-top:4px">{cards}</div></div>'
    )


def changes_html(changes: Sequence[Change], saved: int | None = None) -> str:
    """What was changed by hand so far, the newest first, each with the step that first used it.

    `saved` is the step at which the model was last kept by hand.
    """
    newest = [
        f"step {change.step}: {html.escape(_words(change.name.replace('/', ' of ')))} "
        f"<b>{change.value:.3g}</b>"
        for change in reversed(changes[-MOST_CHANGES:])
    ]
    if len(changes) > len(newest):
        newest.append(f"and {len(changes) - len(newest)} before")
    parts = [f"Changed by hand: {_BETWEEN.join(newest)}"] if newest else []
    parts += [f"Saved at step <b>{saved}</b>"] if saved is not None else []
    if not parts:
        return f'<div style="{_PLAIN};color:{MUTED}">Nothing changed by hand so far.</div>'
    return f'<div style="{_PLAIN};{_ONE_LINE}" role="status">{". ".join(parts)}.</div>'


_ONE_LINE: Final = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_BETWEEN: Final = " &nbsp;·&nbsp; "
_PLAIN: Final = (
    f"background:{PAPER};color:{INK};font-size:14px;line-height:1.4;padding:2px 8px;"
    f"border-color:{FAINT}"
)


def _columns(turned: Turned) -> tuple[Rows, Rows, Rows, Rows]:
    return turned.rows, turned.truth, turned.before, turned.now


def _card(subject: Subject, row: int, truth: int, before: int, now: int) -> str:
    names = [_words(name) for name in subject.classes]
    alt = f"is {names[truth]}, answered {names[before]}, now {names[now]}"
    lines = [(f"is {names[truth]}", INK, 600)]
    for word, answer in (("was", before), ("now", now)):
        colour = RIGHT if answer == truth else WRONG
        lines.append((f"{_MARKS[answer == truth]} {word} {names[answer]}", colour, 400))
    said = "".join(
        f'<div style="color:{colour};font-weight:{weight};{_ONE_LINE}" '
        f'title="{html.escape(text)}">{html.escape(text)}</div>'
        for text, colour, weight in lines
    )
    picture = data_uri(thumbnail(subject.picture(row)))
    return (
        f'<div style="flex:0 0 {_SIDE}px;width:{_SIDE}px;font-size:12px"><img '
        f'alt="{html.escape(alt)}" width="{_SIDE}" height="{_SIDE}" '
        f'style="margin:0;max-width:none" src="{picture}">{said}</div>'
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


PAINTED_HTML: Final = (
    f'<div style="{_PLAIN}"><b>Newest translations</b>: what the camera saw, what is painted, and '
    "the true colours of TI pairs</div>"
)
