"""What is checked before anything is trained: every method can do what it will be asked to."""

from typing import Any

from torch import nn

from socketlab.methods import (
    REGISTRY,
    check_channels,
    check_options,
    method_class,
    methods_for_several_sources,
)
from socketlab.methods.options import Options, SeveralSources
from socketlab.methods.source import SourceOptions, check_source_options
from socketlab.models.classifier import Classifier
from socketlab.models.own_model_checks import reach_of
from socketlab.models.own_model_spec import OwnModelError
from socketlab.runs.places import at_home
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.translators import SUFFIX, translator_file, translator_name


def source_options(parameters: Parameters, source: str) -> SourceOptions:
    """How the source model of a domain is trained.

    Raises:
        UnknownOption: naming the option, the value found and the known ones.
    """
    options: dict[str, Any] = {"backbone": parameters.backbone, "weights": parameters.weights}
    options |= parameters.source_options | parameters.options_by_source.get(source, {})
    if options["weights"] not in ("none", "imagenet"):
        options["weights"] = str(at_home(options["weights"]))
    return check_source_options(options)


def check_methods(parameters: Parameters) -> None:
    """All options that were given, and whether the methods can move that many source models.

    Raises:
        UnknownOption: naming the option, the value found and the known ones.
        WrongTranslator: if a method is to see through a translator that nothing trains.
        SeveralSources: naming the method and those that can.
        ThreeChannels: naming the method that paints, and the encoding.
    """
    for name in parameters.asked_methods():
        check_options(parameters.method_of(name), parameters.options_of(name))
        asked = translator_name(parameters, name)
        if asked is not None and asked.endswith(SUFFIX):
            translator_file(asked)
    for name in parameters.used_methods():
        check_channels(method_class(parameters.method_of(name)), parameters.encoding)
    sources = list(parameters.source_domains)
    for name in parameters.used_methods() if len(sources) > 1 else []:
        method = parameters.method_of(name)
        if not method_class(method).several_sources:
            raise SeveralSources(
                f"{method!r} moves one source model, found {sources}. Methods for several: "
                f"{', '.join(methods_for_several_sources())}."
            )


def check_own_model(parameters: Parameters, model: Classifier) -> None:
    """Whether the methods, and the translators that they see through, can adapt an own model.

    Raises:
        OwnModelError: naming each method that cannot, why, and those that can.
    """
    names = list(parameters.used_methods())
    for name in parameters.used_methods():
        translator = translator_name(parameters, name)
        if translator is not None and not translator.endswith(SUFFIX):
            names.append(translator)
    reasons = []
    for name in dict.fromkeys(names):
        method = parameters.method_of(name)
        lacking = _lacking(method, check_options(method, parameters.options_of(name)), model)
        if lacking:
            reasons.append(f"{name!r} {lacking}")
    if not reasons:
        return
    able = [name for name in REGISTRY if not _lacking(name, check_options(name, {}), model)]
    otherwise = ""
    if reach_of(model).sealed:
        otherwise = (
            " Nobody can reach the layers of a TorchScript program: the same network from "
            "torch.export (.pt2), or by name with its weights, has no such limit."
        )
    raise OwnModelError(
        f"The own source model {model.backbone!r} cannot be adapted as asked: "
        f"{'; '.join(reasons)}. Methods that work as they are: {', '.join(able)}.{otherwise}"
    )


def _lacking(method: str, options: Options, model: Classifier) -> str:
    """Why a method cannot adapt `model`, and what to do; nothing where it can."""
    reach = reach_of(model)
    if method == "adabn" and not reach.statistics:
        return "estimates BatchNorm statistics anew, and no BatchNorm can be reached"
    if method == "tent" and not reach.normalisation and not reach.statistics:
        return "trains the scales of normalisation layers, and none can be reached"
    if getattr(options, "statistics_weight", 0) and not reach.normalisation:
        return (
            "compares the statistics of normalisation layers, and none can be reached (set its "
            "option statistics_weight: 0)"
        )
    adversary = (
        getattr(options, "adversary", "") if getattr(options, "adversarial_weight", 0) else ""
    )
    if adversary == "early" and not any(isinstance(m, nn.Conv2d) for m in model.encoder.modules()):
        return "looks at the first convolution, and none can be reached (set adversary: features)"
    return ""
