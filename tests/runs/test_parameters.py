"""What a notebook can be given: every wrong value is named, and nothing heavy is loaded for it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.parameters import (
    NOTEBOOKS,
    Compare,
    ParameterError,
    TrainTranslator,
    TransferParameters,
    from_notebook,
    notebook_name,
    validate,
)
from socketlab.runs.places import at_home, home


def test_defaults_are_valid_for_every_notebook() -> None:
    assert list(NOTEBOOKS) == [
        "01_prepare_data",
        "02_train_source",
        "03_modality_gap",
        "04_train_translator",
        "05_transfer",
        "06_compare",
        "07_two_encoders",
    ]
    for name in NOTEBOOKS:
        assert validate(name, {}).notebook == name


@pytest.mark.parametrize(
    ("notebook", "values", "words"),
    [
        pytest.param(
            "05",
            {"metod": "shot"},
            ["05_transfer has no parameter 'metod'", "Did you mean 'method'?", "seed", "options"],
            id="misspelt",
        ),
        pytest.param("01", {"method": "shot"}, ["01_prepare_data", "'method'"], id="of another"),
        pytest.param("01", {"size": "large"}, ["size = 'large'", "integer"], id="type"),
        pytest.param("01", {"size": 4}, ["size = 4", "8"], id="too small"),
        pytest.param("01", {"seed": -1}, ["seed = -1"], id="negative seed"),
        pytest.param("01", {"dtype": "float16"}, ["'float16'", "'bfloat16'"], id="choice"),
        pytest.param("01", {"examples": 13}, ["examples = 13", "12"], id="too many"),
        pytest.param("05", {"options": {"socket": 3}}, ["options.socket = 3"], id="nested type"),
        pytest.param(
            "01", {"data": "scene"}, ["data set 'scene'", "nyuv2_scenes_224", "scenes"], id="data"
        ),
        pytest.param("01", {"data": "missing.yaml"}, ["missing.yaml", "scenes"], id="file"),
        pytest.param(
            "01", {"protocol": "held"}, ["'held'", "held_out", "transductive"], id="protocol"
        ),
        pytest.param("01", {"target": "a/deph"}, ["'a/deph'", "a/depth", "b/nir"], id="target"),
        pytest.param("01", {"source": "c/rgb"}, ["'c/rgb'", "a/rgb", "b/rgb"], id="source"),
        pytest.param(
            "01", {"source": "a/nir"}, ["'a/nir' is not rgb", "a/rgb, b/rgb"], id="source not rgb"
        ),
        pytest.param("01", {"target": "a/rgb"}, ["both 'a/rgb'", "two domains"], id="same domain"),
        pytest.param("01", {"crop": 65}, ["crop 65", "size 64"], id="crop"),
        pytest.param("01", {"size": 32, "crop": 56}, ["crop 56", "size 32"], id="crop of size"),
        pytest.param("05", {"method": "sockt"}, ["'sockt'", "socket", "shot_im"], id="method"),
        pytest.param("05", {"options": {"sockt": {}}}, ["'sockt'", "socket"], id="options' method"),
        pytest.param("06", {"methods": ["socket", "tant"]}, ["'tant'", "tent"], id="methods"),
        pytest.param("06", {"variants": {"mine": "sockt"}}, ["'sockt'", "socket"], id="variants"),
        pytest.param(
            "06", {"variants": {"shot": "socket"}}, ["'shot' is a method already"], id="its name"
        ),
        pytest.param("05", {"choose_by": "luck"}, ["'luck'", "nuclear_norm"], id="choice"),
        pytest.param("05", {"choose_by": "oracle"}, ["'oracle'", "entropy"], id="no oracle"),
        pytest.param(
            "01",
            {"data": "nyuv2_scenes_224", "scenes_seed": 1, "source": "kv1/rgb"},
            ["scenes_seed 1", "'nyuv2_scenes_224' is not rendered"],
            id="another rendering of photographs",
        ),
        pytest.param(
            "04",
            {"translator": "pointwise"},
            ["04_train_translator", "'pointwise'", "translated", "tgkt"],
            id="a network is no training",
        ),
        pytest.param(
            "04",
            {"translator": "tgkt"},
            ["translator 'tgkt' trains none", "'translated' or a variant"],
            id="another method",
        ),
        pytest.param(
            "04",
            {"translator": "gated", "variants": {"gated": "socket"}},
            ["translator 'gated' trains none", "'translated' or a variant"],
            id="another method's variant",
        ),
        pytest.param(
            "04", {"method": "translated"}, ["no parameter 'method'", "translator"], id="its word"
        ),
        pytest.param("06", {"methods": []}, ["methods = []"], id="no methods"),
        pytest.param("06", {"seeds": []}, ["seeds = []"], id="no seeds"),
        pytest.param("06", {"seeds": ["x"]}, ["seeds.0 = 'x'"], id="seeds"),
        pytest.param("06", {"targets": ["a/deph"]}, ["'a/deph'", "a/depth"], id="targets"),
        pytest.param("06", {"protocols": ["held"]}, ["'held'", "held_out"], id="protocols"),
    ],
)
def test_wrong_values_are_named_with_the_known_ones(
    notebook: str, values: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ParameterError) as found:
        validate(notebook, values)
    for word in words:
        assert word in str(found.value)


def test_an_unknown_backbone_is_named_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match=r"'resnet_smal'.*resnet_small.*mobilenet_v2"):
        validate("01", {"backbone": "resnet_smal"})


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ParameterError) as found:
        validate("05", {"sed": 1, "size": "large"})
    assert "'sed'" in str(found.value)
    assert "size = 'large'" in str(found.value)


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", "a/b", "/abs", "a\\b", ".hidden", "-p", "a b", "a\n", "ä", "~"]
)
def test_a_run_name_stays_in_the_folder_of_runs(name: str) -> None:
    with pytest.raises(ParameterError, match="run = "):
        validate("01", {"run": name})


def test_the_crop_follows_the_size_unless_given() -> None:
    assert validate("01", {"size": 256}).crop_pixels == 224
    assert validate("01", {"size": 256, "crop": 200}).crop_pixels == 200


def test_the_run_folder_is_where_runs_are_kept(tmp_path: Path) -> None:
    parameters = validate("01", {"run": "x.1", "runs_dir": str(tmp_path)})
    assert parameters.folder == tmp_path / "x.1"


@pytest.mark.parametrize("text", ["05", "05_transfer", "notebooks/05_transfer.ipynb"])
def test_a_notebook_has_three_names(text: str) -> None:
    assert notebook_name(text) == "05_transfer"


@pytest.mark.parametrize("text", ["08", "transfer", "5", ""])
def test_an_unknown_notebook_is_named_with_the_known(text: str) -> None:
    with pytest.raises(
        ParameterError, match=r"Unknown notebook .*01_prepare_data.*07_two_encoders"
    ):
        notebook_name(text)


CALL = "from socketlab.runs.parameters import from_notebook\nparameters = from_notebook'05', {}"


def test_a_notebooks_own_cell_is_read() -> None:
    namespace = {"In": ["", "run = 'x'\nseed = 3", CALL], "run": "x", "seed": 3, "other": object()}
    found = from_notebook("05_transfer", namespace)
    assert isinstance(found, TransferParameters)
    assert (found.run, found.seed) == ("x", 3)


def test_an_injected_name_that_is_misspelt_is_found() -> None:
    cells = ["", "seed = 0", "# Parameters\nsede = 3", CALL]
    with pytest.raises(ParameterError, match=r"no parameter 'sede'.*Did you mean 'seed'"):
        from_notebook("05_transfer", {"In": cells, "seed": 0, "sede": 3})


def test_an_annotated_misspelt_name_is_found() -> None:
    with pytest.raises(ParameterError, match="'sede'"):
        from_notebook("05_transfer", {"In": ["sede: int = 3", CALL], "sede": 3})


def test_what_later_cells_assign_is_no_parameter() -> None:
    later = "step = 3\nmetrics = 1\nlatest = None"
    namespace = {"In": ["", "seed = 1", CALL, later], "seed": 1, "step": 3, "metrics": 1}
    assert from_notebook("05_transfer", namespace).seed == 1


def test_cells_with_magic_commands_are_passed_over() -> None:
    namespace = {"In": ["%matplotlib inline\nx = 1", "seed = 2", CALL], "seed": 2, "x": 1, "_": 5}
    assert from_notebook("05_transfer", namespace).seed == 2


def test_outside_jupyter_the_known_names_count() -> None:
    found = from_notebook("06_compare", {"seeds": [1, 2], "__name__": "__main__", "os": object()})
    assert isinstance(found, Compare)
    assert found.seeds == [1, 2]


def test_home_is_the_nearest_folder_with_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    for name in ("notebooks", "data_manifests", "notebooks/params"):
        (project / name).mkdir(parents=True)
    monkeypatch.chdir(project / "notebooks" / "params")
    assert home() == project
    assert at_home("runs") == project / "runs"
    assert at_home(str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert at_home("~/runs") == tmp_path / "me" / "runs"
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path


def test_validation_loads_no_torch(root: Path) -> None:
    program = (
        "import sys\n"
        "from socketlab.runs.planning import plan, read_parameter_file\n"
        "from pathlib import Path\n"
        "steps = plan([], read_parameter_file(Path('notebooks/params/demo.yaml')), {})\n"
        "heavy = {'torch', 'timm', 'matplotlib', 'umap', 'papermill'} & set(sys.modules)\n"
        "print(len(steps), sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=1) == ["7", "[]\n"]


def test_a_variant_has_its_methods_options_and_its_own() -> None:
    parameters = validate(
        "06",
        {
            "methods": ["socket", "gated"],
            "variants": {"gated": "socket"},
            "options": {
                "socket": {"epochs": 3, "pair_weight": 0.1},
                "gated": {"pair_weight": 0.5, "statistics_gate": True},
            },
        },
    )
    assert [parameters.method_of(name) for name in parameters.asked_methods()] == ["socket"] * 4
    assert parameters.options_of("socket") == {"epochs": 3, "pair_weight": 0.1}
    own = {"epochs": 3, "pair_weight": 0.5, "statistics_gate": True}
    assert parameters.options_of("gated") == own


def test_another_rendering_is_another_data_set() -> None:
    usual, other = (validate("01", {"scenes_seed": seed}).manifest for seed in (None, 7))
    assert validate("01", {"scenes_seed": 0}).manifest == usual
    assert usual.digest() != other.digest()
    assert other.layout.model_dump() == usual.layout.model_dump() | {"seed": 7}


def test_sources_are_one_or_several() -> None:
    assert validate("05", {}).source_domains == ("a/rgb",)
    several = validate("05", {"sources": ["b/rgb", "a/rgb"]})
    assert several.source_domains == ("b/rgb", "a/rgb")


def test_the_translator_is_a_method_or_a_variant_with_options_of_its_own() -> None:
    usual = validate("04", {})
    assert isinstance(usual, TrainTranslator)
    assert usual.translator == "translated"
    assert usual.used_methods() == ["translated"]
    options = {"translated": {"epochs": 4, "l1_weight": 1}, "painted": {"translator": "unet"}}
    variants = {"painted": "translated"}
    given = validate("04", {"translator": "painted", "variants": variants, "options": options})
    assert given.used_methods() == ["painted"]
    assert given.method_of("painted") == "translated"
    own = {"epochs": 4, "l1_weight": 1, "translator": "unet"}
    assert given.options_of("painted") == own
