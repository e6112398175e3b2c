"""The list of claims: complete, and every one with a source and a rival."""

import re

from llmrec_lite.claims import CLAIMS


def test_there_are_the_claims_of_the_five_articles_in_order():
    wanted = [f"C{n:02d}" for n in range(1, 29)]
    place = wanted.index("C22")
    assert list(CLAIMS) == [*wanted[:place], "C22a", "C22b", "C22c", *wanted[place + 1 :]]


def test_each_claim_names_an_article_and_a_rival():
    for key, claim in CLAIMS.items():
        assert re.search(r"\bS[1-5]\b|All five", claim.source), key
        assert all(words.endswith(".") for words in (claim.text, claim.source, claim.rival)), key
        assert str(claim) == claim.text
