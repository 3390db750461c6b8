"""What a page says of translators: how good the pictures are, and whether that helps."""

import pandas as pd
from matplotlib.figure import Figure

from socketlab.figures import (
    cost_against_accuracy,
    picture_against_accuracy,
    reliability_diagram,
)
from socketlab.runs.comparison import spread
from socketlab.runs.parameters import Compare
from socketlab.runs.record import Run
from socketlab.runs.translation_views import calibration, checkpoint_frame
from socketlab.runs.translators import TRAINED_BY

Pictures = dict[str, Figure]


def translator_rows(rows: pd.DataFrame, comparisons: list[Compare]) -> pd.DataFrame:
    """The rows of last epochs that a training of a translator has left; `rows` has psnr, ssim."""
    names = {n for p in comparisons for n in set(rows["method"]) if p.method_of(n) == TRAINED_BY}
    return rows[rows["method"].isin(names) & (rows["chosen_by"] == "last")]


def translator_part(
    name: str, rows: pd.DataFrame, comparisons: list[Compare], run: Run
) -> tuple[list[str], Pictures]:
    """Lines of Markdown and the figures they show; nothing where no translator was trained."""
    trained = translator_rows(rows, comparisons)
    if trained.empty:
        return [], {}
    table = [
        "| target | translator | PSNR (dB) | SSIM | accuracy on translations |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (target, _protocol, method), part in trained.groupby(
        ["target", "protocol", "method"], sort=False
    ):
        ssim = f"{part['ssim'].mean():.2f}"  # over seeds it varies in the third digit
        values = (spread(part["psnr"]), ssim, spread(part["accuracy"] * 100))
        table.append(f"| {target} | {method} | {' | '.join(values)} |")
    lines = [
        "## The pictures",
        "",
        "PSNR and SSIM on TI pairs that were kept out of the training; accuracy is that of the",
        "frozen source model. Means over seeds, with the standard deviation.",
        "",
        *table,
        "",
    ]
    pictures: Pictures = {}
    stages = dict(zip(trained["stage"], trained["method"], strict=True))
    places = list(dict.fromkeys(zip(trained["target"], trained["protocol"], strict=True)))
    for target, protocol in places:
        at_place = rows[(rows["target"] == target) & (rows["protocol"] == protocol)]
        here = trained[trained.index.isin(at_place.index)]
        first = here[here["seed"] == here["seed"].min()]
        mine = {stage: stages[stage] for stage in first["stage"]}
        label = f"{target.replace('/', '_')}_{protocol}"
        points = checkpoint_frame(run, mine)
        if len(points):
            pictures[f"{name}_psnr_{label}"] = picture_against_accuracy(points)
        floor = at_place[
            (at_place["method"] == "source_only") & (at_place["seed"] == first["seed"].min())
        ]
        shown = dict.fromkeys(floor["stage"], "source_only") | mine
        pictures[f"{name}_reliability_{label}"] = reliability_diagram(calibration(run, shown))
        last = at_place[(at_place["chosen_by"] == "last") & (at_place["method"] != "source")]
        pictures[f"{name}_cost_{label}"] = cost_against_accuracy(last)
    for picture in pictures:
        what = picture.removeprefix(f"{name}_").replace("_", " ")
        lines += [f"![{what}]({picture}.png)", ""]
    lines += [
        "Picture quality against accuracy and reliability are of the first seed, costs are means.",
        "",
    ]
    return lines, pictures
