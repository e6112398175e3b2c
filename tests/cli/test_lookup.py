"""Users and titles as they are typed."""

import pandas as pd
import pytest

from llmrec_lite import Dataset
from llmrec_lite.cli.lookup import find_title, find_user
from llmrec_lite.errors import SettingError


@pytest.fixture
def shop() -> Dataset:
    log = pd.DataFrame({"user_id": [7, 7, 12, 30], "item_id": [0, 1, 1, 2]})
    titles = ["Heat", "Heat", "Casino", "The Heat of the Night"]
    return Dataset.from_frames(
        log, pd.DataFrame({"item_id": range(4), "title": titles, "year": [1986, 1995, 1995, 1967]})
    )


def test_a_number_is_typed_as_text(shop):
    assert find_user(shop, "12") == 12
    with pytest.raises(SettingError, match="'1'"):
        find_user(shop, "1")


def test_a_title_with_or_without_year_in_any_case(shop):
    assert find_title(shop, " casino ") == 2
    assert find_title(shop, shop.labels()[0].upper()) == 0
    assert find_title(shop, "heat") == 1  # the one that more users chose


def test_a_title_that_is_not_there_names_those_like_it(shop):
    with pytest.raises(SettingError, match="Casino"):
        find_title(shop, "Casinoo")
    with pytest.raises(SettingError, match="of the Night"):
        find_title(shop, "night")
    with pytest.raises(SettingError, match=r"'Xyz'$"):
        find_title(shop, "Xyz")
