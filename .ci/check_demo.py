"""The demo's own figures: run.json, metrics.parquet and the report agree, and say something."""

import html
import json
import re
import sys
from pathlib import Path

import pandas as pd

folder = Path(sys.argv[1])
run = json.loads((folder / "run.json").read_text())
assert run["status"] == "done", run["status"]
# One word spacing, no tags: what a reader sees.
page = html.unescape((folder / "report.html").read_text())
text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"data:image[^\"]*", "", page)))
metrics = pd.read_parquet(folder / "metrics.parquet")
last = {(row["method"], row["target"]): row for row in run["results"] if row["chosen_by"] == "last"}
for row in run["results"]:
    shown = f"{row['accuracy'] * 100:.1f} %"
    assert shown in text, f"{shown} of {row['stage']} is not in the report"
    if row["method"] != "source":
        mine = metrics[(metrics["stage"] == row["stage"]) & (metrics["name"] == "accuracy")]
        (then,) = mine[mine["epoch"] == row["epoch"]]["value"]
        assert then == row["accuracy"], (row["stage"], row["chosen_by"], then, row["accuracy"])
        if row["chosen_by"] == "last":
            assert row["epoch"] == mine["epoch"].max(), (row["stage"], row["epoch"])
assert last["source", "a/rgb"]["accuracy"] >= 0.85, last["source", "a/rgb"]
for target in ("a/depth", "a/nir"):
    gain = last["socket", target]["accuracy"] - last["source_only", target]["accuracy"]
    assert gain >= 0.10, f"socket gains {gain:.1%} on {target}: something is broken"
    print(f"socket on {target}: {gain * 100:+.1f} points over source_only")
painted = last["translated", "a/depth"]
gain = painted["accuracy"] - last["source_only", "a/depth"]["accuracy"]
assert gain >= 0.10, f"the translator gains {gain:.1%}: something is broken"
assert painted["measures"]["psnr"] >= 13, painted["measures"]
print(f"translated on a/depth: {gain * 100:+.1f} points, PSNR {painted['measures']['psnr']:.1f} dB")
found = len(run["results"])
print(f"1 passed, 0 failed: {found} rows agree in run.json, metrics.parquet and report.html")
