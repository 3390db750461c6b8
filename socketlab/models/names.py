"""What can be asked for by name; loads no network library unless it must."""

from typing import Literal, get_args

Normalisation = Literal["imagenet", "socket_code", "source_statistics"]

TranslatorName = Literal["replicate", "colormap", "pointwise", "residual", "unet"]
TRANSLATORS: tuple[str, ...] = get_args(TranslatorName)

BUILT_IN = ("resnet_small",)
TORCHVISION = (
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


class UnknownBackbone(ValueError):  # noqa: N818 - reads as the thing found
    """A backbone that neither socketlab, torchvision nor timm has."""


def check_backbone(name: str) -> str:
    """Return `name` if it can be built.

    Names of socketlab and torchvision are known without an import; any other is looked up in timm.

    Raises:
        UnknownBackbone: with the known names and the nearest ones of timm.
    """
    if name in BUILT_IN or name in TORCHVISION:
        return name
    import difflib

    import timm

    if timm.is_model(name):
        return name
    nearest = difflib.get_close_matches(name, [*BUILT_IN, *TORCHVISION, *timm.list_models()], 3)
    hint = f" Did you mean {', '.join(nearest)}?" if nearest else ""
    raise UnknownBackbone(
        f"Unknown backbone {name!r}.{hint} Known: {', '.join(BUILT_IN + TORCHVISION)}, "
        "and every name that timm.list_models() prints."
    )


class UnknownTranslator(ValueError):  # noqa: N818 - reads as the thing found
    """A translator that is not registered."""


def check_translator(name: str) -> str:
    """Return `name` if there is a translator of that name.

    Raises:
        UnknownTranslator: with the known names.
    """
    if name not in TRANSLATORS:
        raise UnknownTranslator(
            f"Unknown translator {name!r}. Choose one of: {', '.join(TRANSLATORS)}."
        )
    return name
