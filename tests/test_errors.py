"""One class above all errors that a user can put right, each of which is also the usual class of its kind."""

import pytest

from llmrec_lite import errors

KINDS = {
    "SettingError": ValueError,
    "DataError": ValueError,
    "UnknownIdError": ValueError,
    "AssetError": RuntimeError,
    "ModelFileError": RuntimeError,
    "OutOfMemoryError": MemoryError,
    "DivergedError": FloatingPointError,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_error_is_one_of_ours_and_of_its_kind(name):
    with pytest.raises(KINDS[name]) as caught:
        raise getattr(errors, name)("k must be at least 1, not 0")
    assert isinstance(caught.value, errors.LlmrecError)
    assert str(caught.value) == "k must be at least 1, not 0"


def test_the_list_is_whole():
    ours = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert ours == {"LlmrecError", *KINDS}
