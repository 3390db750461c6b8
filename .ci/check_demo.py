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
rows = {(row["method"], row["target"]): row for row in run["results"]}
for row in run["results"]:
    shown = f"{row['accuracy'] * 100:.1f} %"
    assert shown in text, f"{shown} of {row['stage']} is not in the report"
    if row["method"] not in ("source", "source_only"):
        mine = metrics[(metrics["stage"] == row["stage"]) & (metrics["name"] == "accuracy")]
        last = float(mine.sort_values("epoch")["value"].iloc[-1])
        assert last == row["accuracy"], (row["stage"], last, row["accuracy"])
assert rows["source", "a/rgb"]["accuracy"] >= 0.85, rows["source", "a/rgb"]
for target in ("a/depth", "a/nir"):
    gain = rows["socket", target]["accuracy"] - rows["source_only", target]["accuracy"]
    assert gain >= 0.10, f"socket gains {gain:.1%} on {target}: something is broken"
    print(f"socket on {target}: {gain * 100:+.1f} points over source_only")
print(f"1 passed, 0 failed: {len(rows)} rows agree in run.json, metrics.parquet and report.html")
