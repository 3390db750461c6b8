"""What is checked before anything is trained: every method can do what it will be asked to."""

from typing import Any

from socketlab.methods import check_options, method_class, methods_for_several_sources
from socketlab.methods.base import SeveralSources
from socketlab.methods.source import SourceOptions, check_source_options
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
    """
    for name in parameters.asked_methods():
        check_options(parameters.method_of(name), parameters.options_of(name))
        asked = translator_name(parameters, name)
        if asked is not None and asked.endswith(SUFFIX):
            translator_file(asked)
    sources = list(parameters.source_domains)
    for name in parameters.used_methods() if len(sources) > 1 else []:
        method = parameters.method_of(name)
        if not method_class(method).several_sources:
            raise SeveralSources(
                f"{method!r} moves one source model, found {sources}. Methods for several: "
                f"{', '.join(methods_for_several_sources())}."
            )
