"""The command `llmrec`."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from llmrec_lite import Dataset, __version__, evaluate, evaluate_ratings, recommenders, splits
from llmrec_lite.cli.finetune import finetune_command
from llmrec_lite.cli.llma import fit_command, is_folder, load_test, recommend_with_reasons
from llmrec_lite.cli.lookup import find_title, find_user, liked_items
from llmrec_lite.cli.options import DataSource, takes_data
from llmrec_lite.errors import LlmrecError, SettingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
screen = Console()
SPLITS: dict[str, Callable[[Dataset], splits.Split]] = {
    "benchmark": splits.recommenders_split,
    "random": splits.random_split,
    "temporal": splits.temporal_split,
    "leave-last-out": splits.leave_last_out,
}
MODELS = {name: "llmrec_lite.recommenders" for name in recommenders.MODELS}
MODELS["TextRecommender"] = "llmrec_lite.language.text_recommender"
ModelName = Annotated[str, typer.Option(help=f"One of {', '.join(MODELS)}.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"llmrec {__version__}")
        raise typer.Exit


@app.callback()
def entrance(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Recommend, fit, measure and adapt: the models of llmrec on MovieLens or on your data."""


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Assets to fetch; all of them where left out.")] = None,
    force: Annotated[bool, typer.Option(help="Fetch again what is there already.")] = False,
) -> None:
    """Download data and models, check them, and be offline afterwards."""
    from llmrec_lite import assets

    for name, folder in assets.fetch(names or None, force=force).items():
        screen.print(f"{name}: {folder}", soft_wrap=True)


@app.command()
@takes_data
def recommend(
    user: Annotated[str | None, typer.Option(help="A user of the data, by id.")] = None,
    likes: Annotated[
        list[str] | None, typer.Option(help='A title you like, "Star Wars (1977)"; several times.')
    ] = None,
    request: Annotated[str | None, typer.Option(help='A wish in words, "I would like some science fiction".')] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"A folder that `llmrec fit` has made, or one of {', '.join(MODELS)}; one that can where left out."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    source: DataSource,
) -> None:
    """Recommend items to a user of the data, or to you, by what you like or say you would like."""
    if [user is None, not likes, request is None].count(False) != 1:
        raise SettingError("say for whom: --user ID, or --likes TITLE (several times if you like), or --request TEXT")
    if likes:
        whom = "a user who likes " + ", ".join(likes)
    else:
        whom = f"user {user}" if request is None else f"a user who asks for {request!r}"
    if model is not None and is_folder(model):
        if source.given:
            raise SettingError(f"the model at {model} has its data; leave {' and '.join(source.given)} out")
        found = recommend_with_reasons(model, user, likes, request, k)
        title = f"For {whom}"
        shown = found[["rank", "item", "reason"]].rename(columns={"reason": "why"})
    else:
        model = model or ("TextRecommender" if request is not None else "DenoisingAutoencoder")
        maker = _make(model)
        if likes:
            _check_able(maker, "score_new", "serve new users")
        elif request is not None:
            _check_able(maker, "score_request", "answer a request in words")
        found = _recommend(maker, source.load(), user, likes, request, k)
        title = f"For {whom} ({model})"
        shown = found.drop(columns="item_id")
        shown["genres"] = shown["genres"].str.replace("|", ", ")
        shown["score"] = shown["score"].map("{:.3f}".format)
    if as_json:
        print(json.dumps(json.loads(found.to_json(orient="records")), ensure_ascii=False, indent=1))
    elif found.empty:
        screen.print(f"Nothing to recommend: {whom} has seen every item.", markup=False)
    else:
        screen.print(_table(shown, title))


@app.command()
@takes_data
def adapt(
    likes: Annotated[list[str] | None, typer.Option(help="A title you like; several times.")] = None,
    dislikes: Annotated[list[str] | None, typer.Option(help="A title you do not like; several times.")] = None,
    ask: Annotated[int, typer.Option(min=0, help="How many items to ask you about next.")] = 3,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items to recommend.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    source: DataSource,
) -> None:
    """Adapt to you by what you like and dislike: what to watch, the stars to expect, and what to ask you next."""
    from llmrec_lite.meta.cold_start import ColdStartRecommender  # torch, which most commands do without

    if not likes and not dislikes:
        raise SettingError("say what you like or dislike: --likes TITLE or --dislikes TITLE, several times if you like")
    dataset = source.load()
    best, worst = float(dataset.ratings.max()), float(dataset.ratings.min())
    rated = [(find_title(dataset, title), best) for title in likes or ()]
    rated += [(find_title(dataset, title), worst) for title in dislikes or ()]
    if twice := {item for item, _ in rated if len({stars for i, stars in rated if i == item}) > 1}:
        raise SettingError(f"you both like and dislike {dataset.labels()[twice.pop()]}; decide")
    history = [(dataset.items["item_id"].iloc[item], stars) for item, stars in rated]
    model = ColdStartRecommender(order="random", goal="liked").fit(dataset)
    began = time.perf_counter()
    found = model.recommend_new(history, k)
    milliseconds = 1000 * (time.perf_counter() - began)
    next_ = model.elicit(history, ask)["item_id"] if ask else []
    labels = dict(zip(dataset.items["item_id"], dataset.labels(), strict=True))
    found.insert(2, "item", found["item_id"].map(labels))
    questions = [labels[item] for item in next_]
    if as_json:
        rows = json.loads(found.to_json(orient="records"))
        print(json.dumps({"recommended": rows, "questions": questions}, ensure_ascii=False, indent=1))
        return
    stars = found["stars"].map("{:.1f}".format)
    shown = found[["rank", "item"]].assign(**{"stars to expect": stars})
    screen.print(_table(shown, f"For you, after {len(rated)} rating{'s' * (len(rated) > 1)}"))
    screen.print(f"Adapted and ranked {dataset.n_items:,} items in {milliseconds:.0f} ms.")
    if questions:
        screen.print("Tell us next what you think of " + "; ".join(map(escape, questions)) + ".", soft_wrap=True)


@app.command(name="evaluate")
@takes_data
def evaluate_command(
    model: ModelName = "DenoisingAutoencoder",
    test: Annotated[
        Path | None, typer.Option(help="With a fitted model: what its users did later, a file as --interactions.")
    ] = None,
    split: Annotated[str, typer.Option(help=f"One of {', '.join(SPLITS)}.")] = "benchmark",
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    source: DataSource,
) -> None:
    """Fit a model on a part of the data and measure it on the rest, or measure one that `llmrec fit` has made."""
    if is_folder(model):
        if test is None:
            raise SettingError(f"the model at {model} is fitted; name what to measure it by with --test FILE")
        if source.has_files or source.data is not None:
            raise SettingError(f"the model at {model} has its data; leave {source.given[0]} out")
        from llmrec_lite.llma import LLMA

        fitted: Any = LLMA.load(model)
        later, left_out = load_test(fitted, test, source)
        if reasons := [f"{n:,} {why}" for why, n in left_out.items() if n]:
            Console(stderr=True).print(f"Left out: {', '.join(reasons)}.", soft_wrap=True)
        reports, split = [evaluate(fitted, fitted.train_, later, k)], test.name
    else:
        if test is not None:
            raise SettingError("--test needs the folder of a fitted model in --model; make one with: llmrec fit")
        train, rest = _split(split, source.load())
        fitted = _make(model).fit(train)
        reports = [evaluate(fitted, train, rest, k)]
        if hasattr(fitted, "predict"):
            reports.append(evaluate_ratings(fitted, rest))
    rows = [
        (m, r.mean[m], *(r.interval.loc[m] if m in r.interval.index else (None, None)))
        for r in reports
        for m in r.mean.index
    ]
    if as_json:
        print(json.dumps({m: {"mean": mean, "low": low, "high": high} for m, mean, low, high in rows}, indent=1))
        return
    measured = split if test is not None else f"{split} split"
    table = Table("metric", "mean", "95% interval", title=f"{model}, {measured}, k = {k}", title_justify="left")
    for metric, mean, low, high in rows:
        table.add_row(metric, f"{mean:.4f}", "" if low is None else f"{low:.4f} to {high:.4f}")
    screen.print(table)


@app.command()
@takes_data
def compare(
    models: Annotated[list[str] | None, typer.Option("--model", help="A model to include; all where left out.")] = None,
    split: Annotated[str, typer.Option(help=f"One of {', '.join(SPLITS)}.")] = "benchmark",
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 10,
    *,
    source: DataSource,
) -> None:
    """Fit and measure models of chapters 1 to 9 with their default settings, and print the table."""
    names = models or list(MODELS)
    makers = [(name, _make(name)) for name in names]
    train, test = _split(split, source.load())
    reports = [
        evaluate(maker.fit(train), train, test, k, name=name)
        for name, maker in track(makers, description="Fitting", console=Console(stderr=True))
    ]
    table = Table("model", f"nDCG@{k}", "95% interval", "precision", "recall", "hit rate", "coverage")
    for report in sorted(reports, key=lambda r: -r.mean["ndcg"]):
        mean, (low, high) = report.mean, report.interval.loc["ndcg"]
        cells = [f"{mean[m]:.4f}" for m in ("ndcg", "precision", "recall", "hit_rate", "coverage")]
        table.add_row(report.name, cells[0], f"{low:.3f} to {high:.3f}", *cells[1:])
    screen.print(table)


app.command(name="finetune")(finetune_command)
app.command(name="fit")(fit_command)


def _make(name: str) -> Any:
    by_lower = {model.lower(): model for model in MODELS}
    if name.lower() not in by_lower:
        near = difflib.get_close_matches(name.lower(), by_lower, n=1)
        hint = f"; did you mean {by_lower[near[0]]}?" if near else f"; there are {', '.join(MODELS)}"
        raise SettingError(f"there is no model {name!r}{hint}")
    return _class(by_lower[name.lower()])()


def _class(name: str) -> Any:
    return getattr(import_module(MODELS[name]), name)


def _split(name: str, dataset: Dataset) -> tuple[Dataset, Dataset]:
    if name not in SPLITS:
        raise SettingError(f"there is no split {name!r}; there are {', '.join(SPLITS)}")
    return SPLITS[name](dataset)


def _check_able(model: Any, method: str, what: str) -> None:
    if not hasattr(model, method):
        able = [name for name in MODELS if hasattr(_class(name), method)]
        raise SettingError(f"{type(model).__name__} cannot {what}; these can: {', '.join(able)}")


def _recommend(
    maker: Any, dataset: Dataset, user: str | None, likes: list[str] | None, request: str | None, k: int
) -> pd.DataFrame:
    """Columns rank, item_id, item, genres and score, for one of user, likes and request."""
    fitted = maker.fit(dataset)
    if likes:
        history = liked_items(dataset, likes)
        found = _best(dataset, fitted.score_new([history]), history, k)
    elif request is not None:
        found = _best(dataset, fitted.score_request(request)[None], [], k)
    else:
        found = fitted.recommend([find_user(dataset, str(user))], k)
    names = dataset.items.assign(item=dataset.labels())[["item_id", "item", "genres"]]
    return found.merge(names, on="item_id", how="left")[["rank", "item_id", "item", "genres", "score"]]


def _table(rows: pd.DataFrame, title: str) -> Table:
    """Table of a list; the first column is the rank."""
    table = Table("", *rows.columns[1:], title=escape(title), title_justify="left")
    for row in rows.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _best(dataset: Dataset, scores: Any, history: list[tuple[Any, float]], k: int) -> pd.DataFrame:
    """The k items with the best scores, (1, n_items), that the history does not hold."""
    from llmrec_lite.interface import top_k_unseen
    from llmrec_lite.recommenders.base import histories_to_matrix

    items, values = top_k_unseen(scores, histories_to_matrix([history], dataset), k)
    found = items[0] >= 0
    ids = dataset.items["item_id"].to_numpy()[items[0][found]]
    return pd.DataFrame({"item_id": ids, "rank": range(1, len(ids) + 1), "score": values[0][found]})


def main() -> None:
    """Run the command; an error that the user can put right is one line, any other a traceback."""
    try:
        app()
    except LlmrecError as error:
        Console(stderr=True).print(f"llmrec: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
