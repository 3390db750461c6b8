import subprocess
import sys

import pytest

from socketlab.methods import (
    REGISTRY,
    UnknownMethod,
    UnknownOption,
    check_method,
    check_options,
    method_class,
    methods_without_pairs,
)
from socketlab.methods.options import Options


def test_the_registry_is_read_without_a_network_library() -> None:
    program = (
        "import sys\n"
        "from socketlab.methods import REGISTRY, check_method\n"
        "for name in REGISTRY: assert check_method(name) == name\n"
        "print([m for m in ('torch', 'torchvision', 'timm') if m in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.parametrize("name", REGISTRY)
def test_every_method_is_named_as_registered(name: str) -> None:
    method = method_class(name)
    assert method.name == name
    assert issubclass(method.options_model, Options)
    assert method.__doc__ and method.__module__ == REGISTRY[name]


def test_methods_without_pairs_are_those_that_say_so() -> None:
    classes = {name: method_class(name) for name in REGISTRY}
    fair = {name: found for name, found in classes.items() if not found.upper_reference}
    assert methods_without_pairs() == [n for n, found in fair.items() if not found.needs_pairs]
    assert {"source_only", "shot_im", "shot"} <= set(methods_without_pairs())
    assert not {"distillation", "socket", "oracle_labels"} & set(methods_without_pairs())


def test_an_unknown_method() -> None:
    with pytest.raises(UnknownMethod) as caught:
        check_method("sockit")
    assert "'sockit'" in str(caught.value)
    assert all(name in str(caught.value) for name in REGISTRY)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rte", 0.1),
        ("batch_size", 1),
        ("batch_size", "many"),
        ("learning_rate", 0),
        ("momentum", 1.5),
        ("epochs", "three"),
    ],
)
def test_a_bad_option_is_named_with_the_known_ones(name: str, option: str, value: object) -> None:
    with pytest.raises(UnknownOption) as caught:
        check_options(name, {option: value})
    message = str(caught.value)
    assert repr(name) in message
    assert f"{option} = {value!r}" in message
    known = message.partition("Its options: ")[2].rstrip(".").split(", ")
    assert known == list(method_class(name).options_model.model_fields)
    assert {"epochs", "batch_size", "learning_rate"} <= set(known)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("shot", {"centroid_rounds": 0}),
        ("shot", {"pseudo_label_weight": -1}),
        ("shot", {"pair_weight": 0.5}),
        ("shot_im", {"pseudo_label_weight": 0.3}),
        ("distillation", {"pair_reduction": "euclidean"}),
        ("socket", {"statistics": "released"}),
        ("socket", {"first_layer_weight": 0}),
        ("oracle_labels", {"label_smoothing": 1}),
    ],
)
def test_options_of_one_method(name: str, options: dict[str, object]) -> None:
    option, value = next(iter(options.items()))
    with pytest.raises(UnknownOption, match=f"'{name}' cannot take {option} = {value!r}"):
        check_options(name, options)


def test_two_bad_options_are_both_named() -> None:
    with pytest.raises(UnknownOption, match=r"epochs = -1 .*; lr = 0\.1"):
        check_options("shot", {"epochs": -1, "lr": 0.1})


def test_options_that_were_given_reach_the_method() -> None:
    found = check_options("socket", {"pair_weight": 0.25, "statistics": "gaussian_kl"})
    assert found.model_dump() == {
        "batch_size": 32,
        "learning_rate": 0.01,
        "backbone_factor": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.001,
        "epochs": 15,
        "pair_weight": 0.25,
        "pair_reduction": "frobenius",
        "pair_crops": "same",
        "pair_views": 1,
        "pair_order": "sweep",
        "pair_statistics": "held",
        "information_weight": 1.0,
        "pseudo_label_weight": 0.3,
        "centroid_rounds": 2,
        "statistics_first": False,
        "weighting": "none",
        "elr": False,
        "elr_weight": 3.0,
        "elr_momentum": 0.7,
        "statistics_weight": 0.5,
        "statistics": "gaussian_kl",
        "first_layer_weight": 1.0,
        "statistics_gate": False,
        "normalisation": "source",
        "one_pass": False,
    }
