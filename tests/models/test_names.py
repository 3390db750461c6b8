import subprocess
import sys

import pytest

from socketlab.models.names import BUILT_IN, TORCHVISION, UnknownBackbone, check_backbone


def test_known_names_are_checked_without_a_network_library() -> None:
    program = (
        "import sys\n"
        "from socketlab.models.names import BUILT_IN, TORCHVISION, check_backbone\n"
        "for name in BUILT_IN + TORCHVISION: assert check_backbone(name) == name\n"
        "print([m for m in ('torch', 'torchvision', 'timm') if m in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_a_name_of_timm_is_known() -> None:
    assert check_backbone("test_resnet") == "test_resnet"


@pytest.mark.parametrize(("name", "meant"), [("resnet_smal", "resnet_small"), ("resnet18x", "res")])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, meant: str) -> None:
    with pytest.raises(UnknownBackbone) as caught:
        check_backbone(name)
    message = str(caught.value)
    assert repr(name) in message
    assert meant in message.partition("Did you mean")[2].partition("?")[0]
    for known in BUILT_IN + TORCHVISION:
        assert known in message


def test_a_name_like_no_other_has_no_suggestion() -> None:
    with pytest.raises(UnknownBackbone) as caught:
        check_backbone("@@@@")
    assert "Did you mean" not in str(caught.value)
    assert "timm.list_models()" in str(caught.value)
