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
    own = {name: value for name, value in vars(errors).items() if getattr(value, "__module__", "") == errors.__name__}
    ours = {name for name, value in own.items() if isinstance(value, type)}
    assert ours == {"LlmrecError", "DataWarning", *KINDS}


def test_hints_are_written_as_the_caller_writes():
    assert errors.hint("invalid", "drop") == 'invalid="drop"'
    assert errors.hint("header", False) == "header=False"
    with errors.command_line_hints():
        assert errors.hint("invalid", "drop") == "--invalid drop"
        assert errors.hint("separator", ";") == "--separator ';'"
        assert errors.hint("header", False) == "--no-header"
        assert errors.hint("columns", {"user_id": "a", "item_id": "b"}) == "--columns user_id=a,item_id=b"
    assert errors.hint("separator", ";") == 'separator=";"'


def test_long_values_are_cut_and_control_characters_written_out():
    assert errors.shorten("x" * 5_000_000).count("x") < 60
    assert errors.shorten("\x1b[2J") == r"'\x1b[2J'"
    assert errors.shorten(None) == "nan"
    assert errors.shorten(3.5) == "3.5"
