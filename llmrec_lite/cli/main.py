"""The command `llmrec`."""

from __future__ import annotations

import difflib
import errno
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from llmrec_lite import Dataset, __version__, evaluate, evaluate_ratings, recommenders
from llmrec_lite.cli.finetune import finetune_command
from llmrec_lite.cli.llma import fit_command, is_folder, load_test, recommend_with_reasons
from llmrec_lite.cli.lookup import check_words, find_title, find_user, liked_items
from llmrec_lite.cli.options import DataSource, takes_data
from llmrec_lite.cli.output import (
    fail,
    forget_output,
    let_any_character_through,
    print_json,
    printable,
    ranked_table,
)
from llmrec_lite.cli.split import SPLITS, cut, split_command
from llmrec_lite.errors import LlmrecError, OutOfMemoryError, SettingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
screen = Console()
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
    check_words(user, request, *(likes or ()))
    if likes:
        whom = "a user who likes " + ", ".join({title.casefold().strip(): title for title in likes}.values())
    else:
        whom = f"user {user}" if request is None else f"a user who asks for {request!r}"
    if model is not None and is_folder(model):
        if source.given:
            raise SettingError(f"the model at {model} has its data; leave {' and '.join(source.given)} out")
        found = recommend_with_reasons(model, user, likes, request, k)
        title = f"For {whom}"
        shown = found[["rank", "item", "reason"]].rename(columns={"reason": "why"})
    else:
        if model is None:
            model = "TextRecommender" if request is not None else "DenoisingAutoencoder"
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
        print_json(json.loads(found.to_json(orient="records")))
    elif found.empty:
        screen.print(printable(f"Nothing to recommend: {whom} has seen every item."), markup=False, soft_wrap=True)
    else:
        screen.print(ranked_table(shown, title))


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
    check_words(*(likes or ()), *(dislikes or ()))
    dataset = source.load()
    best, worst = float(dataset.ratings.max()), float(dataset.ratings.min())
    rated = [(find_title(dataset, title), best) for title in likes or ()]
    rated += [(find_title(dataset, title), worst) for title in dislikes or ()]
    if twice := {item for item, _ in rated if len({stars for i, stars in rated if i == item}) > 1}:
        raise SettingError(f"you both like and dislike {dataset.labels()[twice.pop()]}; decide")
    rated = list(dict.fromkeys(rated))
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
        print_json({"recommended": rows, "questions": questions})
        return
    stars = found["stars"].map("{:.1f}".format)
    shown = found[["rank", "item"]].assign(**{"stars to expect": stars})
    screen.print(ranked_table(shown, f"For you, after {len(rated)} rating{'s' * (len(rated) > 1)}"))
    screen.print(f"Adapted and ranked {dataset.n_items:,} items in {milliseconds:.0f} ms.")
    if questions:
        screen.print(
            "Tell us next what you think of " + "; ".join(map(printable, questions)) + ".", soft_wrap=True, markup=False
        )


@app.command(name="evaluate")
@takes_data
def evaluate_command(
    model: ModelName = "DenoisingAutoencoder",
    test: Annotated[
        Path | None, typer.Option(help="With a fitted model: what its users did later, a file as --interactions.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(SPLITS)}; benchmark where left out.", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    source: DataSource,
) -> None:
    """Fit a model on a part of the data and measure it on the rest, or measure one that `llmrec fit` has made."""
    if is_folder(model):
        if test is None:
            raise SettingError(f"the model at {model} is fitted; name what to measure it by with --test FILE")
        if split is not None:
            raise SettingError(f"the model at {model} is measured by all of --test; leave --split out")
        if source.has_files or source.data is not None:
            raise SettingError(f"the model at {model} has its data; leave {source.given[0]} out")
        from llmrec_lite.llma import LLMA

        fitted: Any = LLMA.load(model)
        later, left_out = load_test(fitted, test, source)
        if reasons := [f"{n:,} {why}" for why, n in left_out.items() if n]:
            _note(f"Left out: {', '.join(reasons)}.")
        reports, measured = [evaluate(fitted, fitted.train_, later, k)], test.name
    else:
        if test is not None:
            raise SettingError("--test needs the folder of a fitted model in --model; make one with: llmrec fit")
        measured = f"{split or 'benchmark'} split"
        maker = _make(model)
        train, rest = cut(source.load(), split or "benchmark")
        fitted = _fit(maker, train)
        reports = [evaluate(fitted, train, rest, k)]
        if repeated := reports[0].repeated:
            _note(f"Left out: {repeated:,} test interactions with an item that their user had seen in train.")
        if hasattr(fitted, "predict"):
            reports.append(evaluate_ratings(fitted, rest))
    rows = [
        (m, r.mean[m], *(r.interval.loc[m] if m in r.interval.index else (None, None)))
        for r in reports
        for m in r.mean.index
    ]
    if as_json:
        print_json({m: {"mean": float(mean), "low": low, "high": high} for m, mean, low, high in rows})
        return
    title = escape(printable(f"{model}, {measured}, k = {k}"))
    table = Table("metric", "mean", "95% interval", title=title, title_justify="left")
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
    train, test = cut(source.load(), split)
    reports, left_out = [], {}
    for name, maker in track(makers, description="Fitting", console=Console(stderr=True)):
        try:
            reports.append(evaluate(_fit(maker, train), train, test, k, name=name))
        except LlmrecError as error:
            left_out[name] = str(error)
    if not reports:
        raise SettingError("; ".join(f"{name}: {why}" for name, why in left_out.items()))
    for name, why in left_out.items():
        _note(f"Left out: {name}, since {why}")
    if repeated := reports[0].repeated:
        _note(f"Left out: {repeated:,} test interactions with an item that their user had seen in train.")
    table = Table("model", f"nDCG@{k}", "95% interval", "precision", "recall", "hit rate", "coverage")
    for report in sorted(reports, key=lambda r: -r.mean["ndcg"]):
        mean, (low, high) = report.mean, report.interval.loc["ndcg"]
        cells = [f"{mean[m]:.4f}" for m in ("ndcg", "precision", "recall", "hit_rate", "coverage")]
        table.add_row(report.name, cells[0], f"{low:.3f} to {high:.3f}", *cells[1:])
    screen.print(table)


app.command(name="finetune")(finetune_command)
app.command(name="fit")(fit_command)
app.command(name="split")(split_command)


def _make(name: str) -> Any:
    by_lower = {model.lower(): model for model in MODELS}
    if name.lower() not in by_lower:
        near = difflib.get_close_matches(name.lower(), by_lower, n=1)
        hint = (
            f"; did you mean {by_lower[near[0]]}?" if near else f" nor a folder of one; there are {', '.join(MODELS)}"
        )
        raise SettingError(f"there is no model {name!r}{hint}")
    return _class(by_lower[name.lower()])()


def _class(name: str) -> Any:
    return getattr(import_module(MODELS[name]), name)


def _fit(maker: Any, train: Dataset) -> Any:
    """Fit a model, and name one that needs less where memory is short."""
    try:
        return maker.fit(train)
    except MemoryError as error:
        name = type(maker).__name__
        raise OutOfMemoryError(
            f"{name} does not fit into memory on {train.n_users:,} users and {train.n_items:,} items ({error}); "
            f"{'Popularity' if name == 'ALS' else 'ALS, or llmrec fit --no-text,'} needs far less"
        ) from error


def _note(text: str) -> None:
    Console(stderr=True).print(printable(text), soft_wrap=True, markup=False, highlight=False)


def _check_able(model: Any, method: str, what: str) -> None:
    if not hasattr(model, method):
        able = [name for name in MODELS if hasattr(_class(name), method)]
        raise SettingError(f"{type(model).__name__} cannot {what}; these can: {', '.join(able)}")


def _recommend(
    maker: Any, dataset: Dataset, user: str | None, likes: list[str] | None, request: str | None, k: int
) -> pd.DataFrame:
    """Columns rank, item_id, item, genres and score, for one of user, likes and request."""
    fitted = _fit(maker, dataset)
    if likes:
        history = liked_items(dataset, likes)
        found = _best(dataset, fitted.score_new([history]), history, k)
    elif request is not None:
        found = _best(dataset, fitted.score_request(request)[None], [], k)
    else:
        found = fitted.recommend([find_user(dataset, str(user))], k)
    if found.empty and not _has_seen_all(dataset, user, likes):
        raise SettingError(f"{type(maker).__name__} gives no item a score that is a number; take another --model")
    names = dataset.items.assign(item=dataset.labels())[["item_id", "item", "genres"]]
    return found.merge(names, on="item_id", how="left")[["rank", "item_id", "item", "genres", "score"]]


def _has_seen_all(dataset: Dataset, user: str | None, likes: list[str] | None) -> bool:
    if user is not None:
        seen = dataset.item_index[dataset.user_index == dataset.users_to_index([find_user(dataset, user)])[0]]
        return len(set(seen.tolist())) == dataset.n_items
    return len(liked_items(dataset, likes or [])) == dataset.n_items


def _best(dataset: Dataset, scores: Any, history: list[tuple[Any, float]], k: int) -> pd.DataFrame:
    """The k items with the best scores, (1, n_items), that the history does not hold."""
    from llmrec_lite.interface import top_k_unseen
    from llmrec_lite.recommenders.base import histories_to_matrix

    items, values = top_k_unseen(scores, histories_to_matrix([history], dataset), k)
    found = items[0] >= 0
    ids = dataset.items["item_id"].to_numpy()[items[0][found]]
    return pd.DataFrame({"item_id": ids, "rank": range(1, len(ids) + 1), "score": values[0][found]})


def main() -> None:
    """Run the command; an error that the user can put right is one line and exit code 2, any other a traceback."""
    let_any_character_through()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except LlmrecError as error:
        fail(error)
    except OSError as error:  # a full disk, a name that is too long, a folder where a file should be
        forget_output()
        if error.errno == errno.EPIPE:  # the reader has left, as `head` does
            sys.exit(1)
        fail(error)
    except MemoryError as error:
        fail(OutOfMemoryError(f"memory is short ({error or 'nothing is left'}); take ALS, or fewer data"))


if __name__ == "__main__":
    main()
