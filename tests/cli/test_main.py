"""The command: lists, tables and JSON; and one line, exit code 2, where something is wrong."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from llmrec_lite import Dataset, assets, evaluate_ratings, splits
from llmrec_lite.cli import main as cli
from llmrec_lite.recommenders import ItemMean

# Everybody knows "Heat"; "Up" twice, the later one known to more; tags of rich in a title and a genre.
ITEMS = [
    ("h", "Heat", 1995, "Crime|Drama"),
    ("u1", "Up", 2009, "Animation"),
    ("u2", "Up", 2009, "[bold]"),
    ("r", "[rec] [/b]", 2007, "Horror"),
    ("x", "Nobody Knows", 2004, ""),
]
SEEN = {"ann": "h u2", "bob": "h u2 r", "cyd": "h u1", "dan": "h r u1 u2 x"}


@pytest.fixture(autouse=True)
def _wide_screen(monkeypatch):
    monkeypatch.setattr(cli, "screen", Console(width=200))


@pytest.fixture
def files(tmp_path):
    rows = [(user, item, 5, time) for user, seen in SEEN.items() for time, item in enumerate(seen.split())]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).to_csv(tmp_path / "log.csv", index=False)
    items = pd.DataFrame(ITEMS, columns=["item_id", "title", "year", "genres"])
    items.to_parquet(tmp_path / "items.parquet")
    return ["--interactions", str(tmp_path / "log.csv"), "--items", str(tmp_path / "items.parquet")]


@pytest.fixture
def crowd_file(crowd, tmp_path):
    crowd.interactions.to_csv(tmp_path / "crowd.csv", index=False)
    return ["--interactions", str(tmp_path / "crowd.csv")]


def output(*arguments) -> str:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def run_main(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["llmrec", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, capsys.readouterr()


# ---- recommend ----


def test_recommend_to_a_user(files):
    text = output("recommend", "--user", "ann", "--model", "Popularity", *files)
    lines = [line for line in text.splitlines() if "20" in line]
    assert "For user ann (Popularity)" in text
    # Of what ann has not seen, u1 and r have two users, x one; ties go by the order of the catalog.
    titles = ["Up (2009)", "[rec] [/b] (2007)", "Nobody Knows (2004)"]
    assert [title in line for title, line in zip(titles, lines, strict=True)] == [True] * 3
    assert "Animation" in lines[0]
    assert "2.000" in lines[0]


def test_films_for_a_request_in_words(files):
    found = json.loads(output("recommend", "--request", "animation", "--model", "ContentBased", "--json", *files))
    assert found[0]["item"] == "Up (2009)"
    assert found[0]["score"] > found[1]["score"]
    text = output("recommend", "--request", "animation", "--model", "contentbased", *files)
    assert "For a user who asks for 'animation'" in text


@pytest.mark.data
def test_science_fiction_without_naming_a_model():
    found = json.loads(output("recommend", "--request", "I would like some science fiction", "-k", "5", "--json"))
    assert sum("Sci-Fi" in film["genres"] for film in found) >= 4


def test_brackets_in_titles_and_genres_are_not_markup(files):
    assert "[bold]" in output("recommend", "--user", "cyd", "--model", "popularity", *files)
    text = output("recommend", "--likes", "[rec] [/b]", "--model", "Popularity", *files)
    assert "For a user who likes [rec] [/b]" in text


def test_json_is_json(files):
    found = json.loads(output("recommend", "--user", "ann", "-k", 2, "--model", "Popularity", "--json", *files))
    assert found == [
        {"rank": 1, "item_id": "u1", "item": "Up (2009)", "genres": "Animation", "score": 2.0},
        {"rank": 2, "item_id": "r", "item": "[rec] [/b] (2007)", "genres": "Horror", "score": 2.0},
    ]


def test_a_user_who_has_seen_everything(files):
    said = output("recommend", "--user", "dan", *files)
    assert "dan" in said
    assert len(said.splitlines()) == 1  # a sentence, not a table without rows
    assert json.loads(output("recommend", "--user", "dan", "--json", *files)) == []


@pytest.mark.parametrize("title", ["Heat (1995)", "heat", "  HEAT "])
def test_likes_with_or_without_the_year(title, files):
    found = json.loads(output("recommend", "--likes", title, "--model", "EASE", "--json", *files))
    assert {row["item_id"] for row in found} == {"u1", "u2", "r", "x"}


def test_likes_may_be_several_and_of_two_titles_the_known_one_is_meant(files):
    arguments = ["recommend", "--likes", "Up", "--likes", "Heat", "--model", "Popularity", "--json", *files]
    assert [row["item_id"] for row in json.loads(output(*arguments))] == ["u1", "r", "x"]


def test_number_ids_are_found_by_their_text(crowd_file, tmp_path):
    log = pd.DataFrame({"user_id": [-7, 42, 42], "item_id": [1, 1, 2]})
    log.to_csv(tmp_path / "numbers.tsv", sep="\t", index=False)
    arguments = ["--interactions", tmp_path / "numbers.tsv", "--model", "Popularity", "--json"]
    assert [row["item_id"] for row in json.loads(output("recommend", "--user=-7", *arguments))] == [2]


# ---- adapt ----


@pytest.fixture
def two_kinds(tmp_path, monkeypatch):
    """Sixty people, half of them like the odd films; texts are not read."""
    from llmrec_lite.meta import cold_start

    class Lengths:
        def encode(self, texts):
            return np.array([[len(text), text.count("1")] for text in texts], float)

    monkeypatch.setattr(cold_start, "default_encoder", Lengths)
    rng = np.random.default_rng(0)
    rows = [
        (f"p{user}", item, 5 if item % 2 == user % 2 else 2, time)
        for user in range(60)
        for time, item in enumerate(rng.permutation(30)[:25])
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).to_csv(tmp_path / "log.csv", index=False)
    titles = pd.DataFrame({"item_id": range(30), "title": [f"Film {i} [b]" for i in range(30)]})
    titles.to_csv(tmp_path / "items.csv", index=False)
    return ["--interactions", str(tmp_path / "log.csv"), "--items", str(tmp_path / "items.csv")]


def test_adapt_to_what_is_liked_and_disliked(two_kinds):
    said = ["--likes", "Film 1 [b]", "--likes", "film 3 [b]", "--dislikes", "Film 2 [b]"]
    found = json.loads(output("adapt", *said, "-k", 27, "--json", *two_kinds))
    rows = found["recommended"]
    assert {row["item"] for row in rows} == {f"Film {i} [b]" for i in range(30)} - {f"Film {i} [b]" for i in (1, 2, 3)}
    odd, even = ([row["stars"] for row in rows if row["item_id"] % 2 == kind] for kind in (1, 0))
    assert min(odd) > max(even)
    assert len(found["questions"]) == 3
    assert not {"Film 1 [b]", "Film 2 [b]", "Film 3 [b]"} & set(found["questions"])


def test_adapt_as_a_table(two_kinds):
    text = output("adapt", "--dislikes", "Film 4 [b]", "-k", 2, "--ask", 0, *two_kinds)
    assert "[b]" in text
    assert "30 items" in text
    asking = output("adapt", "--dislikes", "Film 4 [b]", "-k", 2, "--ask", 3, *two_kinds)
    assert asking.count("Film") == text.count("Film") + 3


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "say what you like or dislike"),
        (["--likes", "Film 1 [b]", "--dislikes", "film 1 [b]"], "you both like and dislike Film 1 [b]"),
        (["--likes", "Fil 12 [b]"], "did you mean"),
    ],
)
def test_adapt_says_what_is_wrong(two_kinds, monkeypatch, capsys, said, message):
    code, shown = run_main(monkeypatch, capsys, "adapt", *said, *two_kinds)
    assert code == 2
    assert message in shown.err


# ---- evaluate and compare ----


@pytest.mark.parametrize(
    ("split", "function"),
    [
        ("benchmark", splits.recommenders_split),
        ("random", splits.random_split),
        ("temporal", splits.temporal_split),
        ("leave-last-out", splits.leave_last_out),
    ],
)
def test_evaluate_measures_every_split(split, function, crowd_file):
    arguments = ["evaluate", "--model", "ItemMean", "--split", split, "-k", 3, *crowd_file]
    found = json.loads(output(*arguments, "--json"))
    assert {"ndcg", "precision", "recall", "coverage", "rmse", "mae"} <= set(found)
    train, test = function(Dataset.from_files(crowd_file[1]))
    assert found["rmse"]["mean"] == evaluate_ratings(ItemMean().fit(train), test).mean["rmse"]
    assert found["ndcg"]["low"] <= found["ndcg"]["mean"] <= found["ndcg"]["high"]
    assert found["coverage"]["low"] is None
    text = output(*arguments)
    assert f"ItemMean, {split} split, k = 3" in text
    low, high = found["rmse"]["low"], found["rmse"]["high"]
    assert f"{low:.4f} to {high:.4f}" in next(line for line in text.splitlines() if "rmse" in line)


def test_a_model_of_rankings_has_no_error_of_ratings(crowd_file):
    assert "rmse" not in json.loads(output("evaluate", "--model", "Popularity", "--json", *crowd_file))


def test_compare_puts_the_best_first(crowd_file):
    text = output("compare", "--model", "Random", "--model", "ease", "--model", "Popularity", "-k", 3, *crowd_file)
    lines = [line for line in text.splitlines() if "0." in line]
    scores = [float(line.replace("\u2502", " ").split()[1]) for line in lines]
    assert len(lines) == 3
    assert scores == sorted(scores, reverse=True)
    assert "Random" in lines[2]
    assert "nDCG@3" in text


def test_compare_leaves_out_what_cannot_be_fitted_and_says_so(tmp_path, monkeypatch, capsys):
    rows = [(u, i, 1 if i else 90_000) for u in range(30) for i in range(12) if (u + i) % 3]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]).to_csv(tmp_path / "counts.csv", index=False)
    asked = ["compare", "--split", "random", "--interactions", tmp_path / "counts.csv"]
    monkeypatch.setattr(sys, "argv", ["llmrec", *map(str, asked), "--model", "BiasedMF", "--model", "Popularity"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr()
    assert not caught.value.code
    assert "BiasedMF" in said.err
    code, said = run_main(monkeypatch, capsys, *asked, "--model", "BiasedMF")
    assert code == 2
    assert "scale" in said.err


def test_what_was_seen_before_is_left_out_and_said(crowd, tmp_path, monkeypatch):
    train, test = splits.random_split(crowd)
    again = test.with_interactions(pd.concat([test.interactions, train.interactions.head(7)]))
    monkeypatch.setitem(cli.SPLITS, "random", lambda data: (train, again))
    crowd.interactions.to_csv(tmp_path / "crowd.csv", index=False)
    asked = ["evaluate", "--model", "Popularity", "--split", "random", "--json", "--interactions"]
    result = CliRunner().invoke(cli.app, [*asked, str(tmp_path / "crowd.csv")])
    assert "7 " in result.stderr
    monkeypatch.setitem(cli.SPLITS, "random", lambda data: (train, test))
    assert CliRunner().invoke(cli.app, [*asked, str(tmp_path / "crowd.csv")]).stdout == result.stdout


# ---- what is wrong is said in a line ----


def test_a_model_without_numbers_is_not_a_user_who_has_seen_everything(tmp_path, monkeypatch, capsys):
    (tmp_path / "f.csv").write_text("user_id,item_id,rating\n1,1,1\n1,2,90000\n2,1,1\n2,3,90000\n")
    asked = ["recommend", "--interactions", tmp_path / "f.csv", "--model", "BiasedMF", "--user", 1]
    for options in ([], ["--json"]):
        code, said = run_main(monkeypatch, capsys, *asked, *options)
        assert (code, said.out) == (2, "")
        assert "scale" in said.err


def test_a_film_that_is_liked_twice_counts_once(files):
    once, twice = (
        output("recommend", *["--likes", "Heat"] * n, "--model", "EASE", *options, *files)
        for n, options in ((1, []), (2, []))
    )
    assert once == twice


def test_memory_that_is_short_names_a_model_that_needs_less(files, monkeypatch, capsys):
    from llmrec_lite.recommenders import EASE

    def full(self, train):
        raise MemoryError("Unable to allocate 12.4 GiB")

    monkeypatch.setattr(EASE, "_fit", full)
    for asked in (["recommend", "--user", "ann"], ["evaluate", "--split", "random"], ["compare", "--split", "random"]):
        code, said = run_main(monkeypatch, capsys, *asked, "--model", "EASE", *files)
        assert code == 2
        assert "12.4 GiB" in said.err
        assert "ALS" in said.err


def test_names_of_three_hundred_characters(files, monkeypatch, capsys):
    long = "a" * 300
    for asked in (
        ["recommend", "--user", 1, "--model", long],
        ["recommend", "--user", 1, "--interactions", long + ".csv"],
        ["recommend", "--user", 1, *files[:2], "--items", long + ".csv"],
        ["evaluate", "--model", long],
        ["fit", *files, "--out", long],
        ["recommend", "--user", 1, "--model", ""],
    ):
        code, said = run_main(monkeypatch, capsys, *asked)
        assert code == 2
        assert said.err.count("\n") == 1


def test_a_seed_that_is_too_large_is_found_before_the_work(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Dataset, "from_files", lambda *a, **o: pytest.fail("the data were read first"))
    for command in ("fit", "finetune"):
        code, said = run_main(monkeypatch, capsys, command, *files, "--out", tmp_path / "m", "--seed", 10**20)
        assert code == 2
        assert "--seed" in said.err


def test_a_list_of_a_thousand_million_is_one_of_all_items(files):
    found = json.loads(output("recommend", "--user", "ann", "-k", 10**9, "--model", "Popularity", "--json", *files))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend"], "say for whom: --user ID, or --likes TITLE"),
        (["recommend", "--user", "ann", "--likes", "Heat"], "say for whom"),
        (["recommend", "--request", "a film", "--likes", "Heat"], "say for whom"),
        (
            ["recommend", "--request", "a film", "--model", "EASE"],
            "EASE cannot answer a request in words",
        ),
        (["recommend", "--user", "eve"], "there is no user 'eve' among the 4 users (ann, bob, cyd, ...)"),
        (["recommend", "--likes", "Heatt"], "no item called 'Heatt'; did you mean Heat (1995)?"),
        (["recommend", "--likes", "knows"], "did you mean Nobody Knows (2004)?"),
        (["recommend", "--likes", "qqqq"], "there is no item called 'qqqq'"),
        (["recommend", "--likes", "Heat", "--model", "Random"], "Random cannot"),
        (["recommend", "--user", "ann", "--model", "Popularty"], "no model 'Popularty'; did you mean Popularity?"),
        (["recommend", "--user", "ann", "--model", "zzz"], "no model 'zzz' nor a folder"),
        (["recommend", "--user", "ann", "--model", ""], "no model ''"),
        (["evaluate", "--model", "Popularity", "--split", "rnd"], "no split 'rnd'; there are benchmark, random"),
        (["compare", "--model", "Popularity", "--model", "EAES"], "did you mean EASE?"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, files, monkeypatch, capsys):
    code, said = run_main(monkeypatch, capsys, *arguments, *files)
    assert code == 2
    assert said.out == ""
    assert said.err.startswith("llmrec: ")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_wrong_files_are_one_error(files, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.csv").write_text("user_id,item_id,rating\n1,2,x\n")
    for arguments, message in [
        (["--items", files[3]], "--items needs --interactions too"),
        (["--interactions", tmp_path / "none.csv"], "there is no file"),
        (["--interactions", tmp_path / "bad.csv"], "row 1: rating 'x': not a number"),
    ]:
        code, said = run_main(monkeypatch, capsys, "recommend", "--user", 1, *arguments)
        assert code == 2
        assert message in said.err
        assert "Traceback" not in said.err


def test_unknown_options_and_help_are_those_of_every_command(monkeypatch, capsys):
    code, said = run_main(monkeypatch, capsys, "recommend", "-k", 0, "--user", 1)
    assert code == 2
    assert "-k" in said.err
    code, said = run_main(monkeypatch, capsys, "--help")
    assert code == 0
    assert all(command in said.out for command in ("fetch", "recommend", "evaluate", "compare", "finetune"))


# ---- fetch ----


def test_fetch_prints_where_assets_are(monkeypatch, tmp_path):
    asked = []

    def fetch(names, force=False):
        asked.append((names, force))
        return {name: tmp_path / name for name in names or assets.ASSETS}

    monkeypatch.setattr(assets, "fetch", fetch)
    assert f"movielens-100k: {tmp_path / 'movielens-100k'}" in output("fetch")
    output("fetch", "one", "two", "--force")
    assert asked == [(None, False), (["one", "two"], True)]  # None is all of them


def test_an_asset_that_cannot_be_had_is_one_line(monkeypatch, capsys):
    def fetch(names, force=False):
        raise assets.AssetError("no network; run: llmrec fetch")

    monkeypatch.setattr(assets, "fetch", fetch)
    code, said = run_main(monkeypatch, capsys, "fetch")
    assert (code, said.err) == (2, "llmrec: no network; run: llmrec fetch\n")


# ---- MovieLens itself ----


@pytest.mark.data
def test_films_for_user_42():
    films = json.loads(output("recommend", "--user", 42, "--json"))
    assert [film["rank"] for film in films] == list(range(1, 11))
    assert films[0]["item"].endswith(")")
    scores = [film["score"] for film in films]
    assert scores == sorted(scores, reverse=True)
    assert films[0]["item"] in output("recommend", "--user", 42)


@pytest.mark.data
def test_films_for_somebody_who_likes_star_wars(monkeypatch, capsys):
    films = json.loads(output("recommend", "--likes", "Star Wars (1977)", "-k", 3, "--json"))
    assert "Return of the Jedi (1983)" in {film["item"] for film in films}
    _, said = run_main(monkeypatch, capsys, "recommend", "--likes", "Star Wras (1977)")
    assert "did you mean Star Wars (1977)" in said.err


@pytest.mark.data
def test_benchmark_on_the_command_line():
    found = json.loads(output("evaluate", "--json"))
    assert round(found["ndcg"]["mean"], 4) == 0.4852
