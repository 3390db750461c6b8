"""How fast images are prepared, against decoding the same files and doing nothing with them.

`python benchmarks/preparing.py` takes the pairs of nyuv2_scenes_224, where they are on this
machine, and made-up pairs of 640 x 480; `--write` leaves the page docs/results/preparing.md. It
takes about two minutes. Run it on a machine that has nothing else to do.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from quality import HERE, RESULTS, markdown

from socketlab.data.acquiring.acquire import AcquireError, resolve_root
from socketlab.data.layouts.threads import cores, in_threads
from socketlab.data.manifest import Manifest, load_manifest
from socketlab.data.store import DATA_FOLDER, prepare
from socketlab.data.whole_files import replace_file

PAGE = RESULTS / "preparing.md"
REAL = "nyuv2_scenes_224"
SIZES = (224, 64)
FILES_PER_TASK = 16
HEAD = """\
# Preparing images, against decoding alone

Images per second on {cores} cores, files in the system's cache. **Decoding alone** is Pillow's
`open`, `load` and `np.asarray` of the same files in as many threads, {per_task} files a task;
what it decodes is thrown away. **Preparing** is the whole of `prepare`: finding and checking the
table of samples, decoding, resizing, checking that partners are of one size, writing to disk,
checksums. Both take turns, {rounds} times; the speeds are medians. The **share** compares each turn
with the decoding just before and after it (median, lowest and highest), by the clock and by the
time of processors; where the two differ much, the machine had other work.

The made-up pairs are {made} of 640 x 480: a JPEG of some {jpeg:.0f} kB, and a 16-bit PNG of some
{png:.0f} kB with pixels that have no reading.

"""
MADE = """\
name: made_up
layout:
  kind: paired_folders
  size: 224
  parts:
    - patterns: {cam/rgb: "{class}/{id}_rgb.jpg", cam/depth: "{class}/{id}_depth.png"}
domains:
  cam/rgb: {modality: rgb, unit: intensity, bits: 8, range: [0, 255]}
  cam/depth: {modality: depth, unit: metre, bits: 16, scale: 0.001, invalid: 0, range: [0.5, 8]}
classes: {task_relevant: [thing]}
protocols:
  all: {description: all, source_splits: [all], adapt_splits: [all], score_splits: [all]}
"""


def make_pairs(folder: Path, pairs: int) -> Manifest:
    """Files such as a camera of 640 x 480 would leave, and their manifest."""
    draw = np.random.default_rng(0)
    (folder / "thing").mkdir(parents=True)
    for number in range(pairs):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        colour = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.float32)
        colour += draw.normal(0, 6, colour.shape).astype(np.float32)
        picture = Image.fromarray(colour.clip(0, 255).astype(np.uint8))
        picture.save(folder / "thing" / f"{number:04}_rgb.jpg", quality=90)
        relief = Image.fromarray(draw.uniform(800, 6000, (12, 16)).astype(np.float32))
        depth = np.asarray(relief.resize((640, 480), Image.Resampling.BICUBIC))
        depth = (depth + draw.normal(0, 3, depth.shape)).astype(np.uint16)
        depth[depth < 1200] = 0
        Image.fromarray(depth).save(folder / "thing" / f"{number:04}_depth.png")
    file = folder / "made_up.yaml"
    file.write_text(MADE)
    return load_manifest(file)


def decode(files: Sequence[Path]) -> None:
    """Decode files and forget them."""
    for file in files:
        with Image.open(file) as image:
            image.load()
            np.asarray(image)


def cost(work: Callable[[], object]) -> np.ndarray:
    """How long `work` takes: seconds on the clock, and of processors."""
    start = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - start


def in_words(shares: Sequence[float]) -> str:
    """The median, and in brackets the lowest and the highest."""
    return f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"


def compare(manifest: Manifest, root: Path, data_dir: Path, rounds: int) -> list[dict[str, str]]:
    """A row per size: how fast decoding and preparing are, and the share of one in the other."""
    files = sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".png"))
    tasks = [files[at : at + FILES_PER_TASK] for at in range(0, len(files), FILES_PER_TASK)]

    def plain() -> np.ndarray:
        return cost(lambda: list(in_threads(decode, tasks, at_once=64)))

    plain()  # the files enter the system's cache
    spent: dict[int, list[np.ndarray]] = {size: [] for size in SIZES}
    shares: dict[int, list[np.ndarray]] = {size: [] for size in SIZES}
    decoding = [plain()]
    for turn in range(rounds):
        for size in SIZES:
            place = data_dir / str(turn)
            spent[size].append(
                cost(partial(prepare, manifest, root=root, size=size, data_dir=place))
            )
            decoding.append(plain())
            shares[size].append((decoding[-2] + decoding[-1]) / 2 / spent[size][-1])

    def per_second(costs: Sequence[np.ndarray]) -> str:
        return f"{len(files) / statistics.median(seconds for seconds, _ in costs):,.0f}"

    return [
        {
            "images": manifest.name,
            "size": f"{size} px",
            "number": f"{len(files):,}",
            "decoding alone": per_second(decoding),
            "preparing": per_second(spent[size]),
            "share, clock": in_words([each[0] for each in shares[size]]),
            "share, processors": in_words([each[1] for each in shares[size]]),
        }
        for size in SIZES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=400, help="made-up pairs")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is measured")
    parser.add_argument("--root", type=Path, help=f"folder of {REAL}, where it is not found")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE)}")
    given = parser.parse_args()
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        try:
            real = load_manifest(REAL)
            root = resolve_root(real, given.root, DATA_FOLDER)
            rows += compare(real, root, place / "real", given.rounds)
        except AcquireError as error:
            print(f"{REAL} is left out: {error}")
        made = make_pairs(place / "raw", given.pairs)
        rows += compare(made, place / "raw", place / "made", given.rounds)
        head = HEAD.format(
            cores=cores(),
            per_task=FILES_PER_TASK,
            rounds=given.rounds,
            made=given.pairs,
            jpeg=(place / "raw" / "thing" / "0000_rgb.jpg").stat().st_size / 1000,
            png=(place / "raw" / "thing" / "0000_depth.png").stat().st_size / 1000,
        )
    page = f"{head}{markdown(pd.DataFrame(rows))}\n"
    print(page)
    if given.write:
        replace_file(PAGE, page.encode())


if __name__ == "__main__":
    main()
