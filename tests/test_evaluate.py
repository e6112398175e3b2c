"""The protocol against a naive re-implementation, and what intervals and p-values promise."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from llmrec_lite import Dataset, Report, compare, evaluate, evaluate_ratings, metrics, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.evaluate import search
from llmrec_lite.recommenders import EASE, ItemMean, Popularity


class Scores:
    """A model whose scores and predictions are given."""

    def __init__(self, table=None, train=None, error=0.0):
        self.table, self.train, self.error = table, train, error

    def fit(self, train):
        return self

    def score(self, user_ids):
        return self.table[self.train.users_to_index(user_ids)]

    def predict(self, user_ids, item_ids):
        return np.full(len(user_ids), self.error)


def data(rows, **options):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"][: len(rows[0])])
    return Dataset.from_frames(frame, **options)


def report(values, name="model", weights=None):
    frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame({"ndcg": np.asarray(values, float)})
    return Report(name, frame, np.ones(len(frame)) if weights is None else np.asarray(weights, float))


# ---- rankings ----


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("batch_size", [7, 1024])
@pytest.mark.parametrize("ties", ["index", "random"])
@pytest.mark.parametrize("candidates", [None, [29, 3, 5, 8, 3]])
def test_evaluate_equals_the_naive_protocol(crowd, k, batch_size, ties, candidates):
    train, test = splits.random_split(crowd, 0.3)
    scores = np.random.default_rng(0).integers(0, 6, (crowd.n_users, crowd.n_items)).astype(np.float32)  # many ties
    vectors = np.random.default_rng(1).normal(size=(crowd.n_items, 4))
    options = {"item_vectors": vectors, "batch_size": batch_size, "candidates": candidates, "ties": ties, "seed": 4}
    found = evaluate(Scores(scores, train), train, test, k, **options)
    allowed = np.unique(candidates) if candidates else np.arange(crowd.n_items)
    rng = np.random.default_rng(4)
    known = {u: set(train.item_index[train.user_index == u]) for u in range(crowd.n_users)}
    wanted = {u: set(test.item_index[test.user_index == u]) for u in range(crowd.n_users)}
    judged = [u for u in range(crowd.n_users) if wanted[u]]
    assert found.per_user.index.tolist() == crowd.users["user_id"].iloc[judged].tolist()
    for row, user in enumerate(judged):
        order = allowed
        if ties == "random":  # of each user anew
            order = allowed[np.argsort(rng.permuted(np.arange(len(allowed), dtype=np.int32)))]
        unseen = [item for item in order if item not in known[user]]
        best = sorted(unseen, key=lambda item: -scores[user, item])[:k]  # sorted keeps the order of ties
        assert found.lists[row].tolist() == best + [-1] * (min(k, len(allowed)) - len(best))
        for name, metric in metrics.RANKING_METRICS.items():
            assert found.per_user[name].iloc[row] == pytest.approx(metric(best, wanted[user], k))
    popularity = np.bincount(train.item_index, minlength=crowd.n_items)
    assert_allclose(found.per_user["novelty"], metrics.novelty(found.lists, popularity, crowd.n_users))
    assert_allclose(found.per_user["diversity"], metrics.intra_list_diversity(found.lists, vectors))
    assert found.overall["coverage"] == len(set(found.lists[found.lists >= 0])) / crowd.n_items
    assert found.overall["gini"] == metrics.gini(found.lists, crowd.n_items)
    assert found.mean.index.tolist() == [*found.per_user.columns, "coverage", "gini"]
    assert_allclose(found.mean["ndcg"], found.per_user["ndcg"].mean())
    assert found.name == "Scores"


def test_the_order_of_the_catalogue_helps_nobody_unasked(crowd):
    # The catalog of the crowd is sorted by popularity: ties by index make a model without a clue look clever.
    train, test = splits.random_split(crowd)
    clueless = Scores(np.zeros((crowd.n_users, crowd.n_items)), crowd)
    by_index = evaluate(clueless, train, test, 3, ties="index").mean["recall"]
    shuffled = [evaluate(clueless, train, test, 3, seed=seed).mean["recall"] for seed in range(20)]
    assert len(set(shuffled)) > 10
    assert np.mean(shuffled) == pytest.approx(3 / 23, abs=0.04)  # 3 of about 23 unseen items
    assert by_index > 2 * np.mean(shuffled)


def test_ties_are_broken_for_each_user_anew():
    # One item of ten is relevant, the same for all: a model without a clue must not serve all of them or none.
    whole = data([(user, item) for user in range(200) for item in (0, 1)], items=pd.DataFrame({"item_id": range(10)}))
    train, test = splits.leave_last_out(whole)
    found = evaluate(Scores(np.zeros((200, 10)), train), train, test, 1)
    assert found.mean["recall"] == pytest.approx(1 / 9, abs=0.08)
    assert found.overall["coverage"] == 0.9  # all but the item that everybody has seen
    again = evaluate(Scores(np.zeros((200, 10)), train), train, test, 1, batch_size=3)
    assert_array_equal(found.lists, again.lists)


def test_what_a_user_has_seen_before_is_neither_a_hit_nor_a_miss():
    whole = data([("a", 1), ("a", 2), ("b", 1), ("b", 3)], items=pd.DataFrame({"item_id": [1, 2, 3, 4]}))
    log = whole.interactions
    train = whole.with_interactions(log)
    test = whole.with_interactions(
        pd.concat([log.iloc[[0]], pd.DataFrame({"user_id": ["a", "b"], "item_id": [3, 3], "rating": 1.0})])
    )
    model = Scores(np.array([[9.0, 1, 2, 0], [9, 1, 8, 0]]), train)
    found = evaluate(model, train, test, 1)
    assert found.per_user.index.tolist() == ["a"]  # nothing is left to find for b
    assert found.per_user["ndcg"].tolist() == [1.0]
    assert found.repeated == 2
    assert "2 " in repr(found)
    repeats = evaluate(model, train, test, 2, repeats=True)
    assert repeats.lists.tolist() == [[0, 2], [0, 2]]
    assert repeats.per_user["recall"].tolist() == [1.0, 1.0]
    assert repeats.repeated == 0
    with pytest.raises(SettingError, match="repeats"):
        evaluate(model, train, train.with_interactions(log.iloc[[0]]))


def test_lists_of_a_thousand_million(crowd):
    train, test = splits.random_split(crowd)
    found = evaluate(Popularity().fit(train), train, test, 10**9)
    assert found.lists.shape == (len(found.per_user), crowd.n_items)
    assert found.mean["recall"] == 1
    assert 0 < found.mean["precision"] < 1e-6


def test_evaluate_does_not_change_the_scores(crowd):
    train, test = splits.random_split(crowd)

    class Whole(Scores):
        def score(self, users):
            return self.table  # the model's own array, not a copy

    table = np.ones((crowd.n_users, crowd.n_items), np.float32)
    whole = test.with_interactions(crowd.interactions)
    evaluate(Whole(table), train, whole, repeats=True)
    assert (table == 1).all()


def test_a_user_who_saw_everything_gets_nothing_and_is_counted():
    whole = data([("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3)])
    train, test = (whole.with_interactions(whole.interactions.iloc[rows]) for rows in ([0, 1, 2], [3, 4]))
    found = evaluate(Popularity().fit(train), train, test, 2, candidates=np.array([0, 1]))
    assert found.lists.tolist() == [[-1, -1], [1, -1]]
    assert found.per_user["recall"].tolist() == [0, 1]
    assert np.isnan(found.per_user["novelty"]["a"])
    assert found.mean["novelty"] == found.per_user["novelty"]["b"]  # nan does not take part


def test_an_item_nobody_rated_can_be_recommended():
    whole = data([("a", 1), ("a", 2)], items=pd.DataFrame({"item_id": [1, 2, 3]}))
    train, test = splits.leave_last_out(whole)
    found = evaluate(Scores(np.array([[0.0, 1.0, 2.0]]), train), train, test, 2)
    assert found.lists.tolist() == [[2, 1]]
    assert found.per_user["mrr"].tolist() == [0.5]


def test_evaluate_refuses_what_it_cannot_measure(crowd):
    train, test = splits.random_split(crowd)
    model = Popularity().fit(train)
    other = Dataset.from_frames(test.interactions)
    with pytest.raises(SettingError):
        evaluate(model, train, other)
    with pytest.raises(SettingError, match="test"):
        evaluate(model, train, test.with_interactions(test.interactions[:0]))
    with pytest.raises(SettingError, match="k "):
        evaluate(model, train, test, 0)
    for candidates in ([], [-1, 2], [crowd.n_items]):
        with pytest.raises(SettingError, match=r"candidates.*29"):
            evaluate(model, train, test, candidates=candidates)
    with pytest.raises(SettingError):
        evaluate(Scores(np.full((crowd.n_users, crowd.n_items), np.nan), train), train, test)


# ---- ratings ----


def test_evaluate_ratings_by_hand():
    test = data([("a", 1, 1), ("a", 2, 2), ("a", 3, 3), ("b", 1, 5)], users=pd.DataFrame({"user_id": ["c", "b", "a"]}))
    found = evaluate_ratings(Scores(error=2.0), test)
    # Errors of a: 1, 0, -1; of b: -3. Overall: rmse sqrt((1 + 0 + 1 + 9) / 4), mae (1 + 0 + 1 + 3) / 4.
    assert found.per_user.index.tolist() == ["b", "a"]
    assert_allclose(found.per_user.loc["a"], [(2 / 3) ** 0.5, 2 / 3])
    assert_allclose(found.mean[["rmse", "mae"]], [(11 / 4) ** 0.5, 5 / 4])
    assert found.weights.tolist() == [1, 3]


def test_ratings_weigh_every_rating_alike(crowd):
    train, test = splits.random_split(crowd)
    model = ItemMean().fit(train)
    predicted = model.predict_indices(test.user_index, test.item_index)
    found = evaluate_ratings(model, test).mean
    assert found["rmse"] == pytest.approx(metrics.rmse(test.ratings, predicted))
    assert found["mae"] == pytest.approx(abs(predicted - test.ratings).mean())


def test_evaluate_ratings_refuses(crowd):
    with pytest.raises(SettingError, match=r"Scores.*nan"):
        evaluate_ratings(Scores(error=np.nan), crowd)
    with pytest.raises(SettingError, match="test"):
        evaluate_ratings(Scores(), crowd.with_interactions(crowd.interactions[:0]))


# ---- intervals ----


def test_the_bootstrap_equals_a_plain_loop():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"rmse": rng.random(12), "mae": rng.random(12)})
    frame.loc[3, "mae"] = np.nan
    weights = rng.integers(1, 9, 12)
    found = report(frame, weights=weights)
    means = []
    for drawn in np.random.default_rng(0).integers(12, size=(1000, 12)):  # whole users, with their weights
        square = np.average(frame["rmse"][drawn] ** 2, weights=weights[drawn])
        there = drawn[drawn != 3]
        means.append((square**0.5, np.average(frame["mae"][there], weights=weights[there])))
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    assert_allclose(found.interval["low"], low)
    assert_allclose(found.interval["high"], high)


def test_intervals_cover_the_truth_and_shrink_with_more_users():
    rng = np.random.default_rng(11)
    widths, covered = {}, []
    for n in (50, 200):
        intervals = [report(rng.beta(2, 5, n)).interval.loc["ndcg"] for _ in range(200)]
        covered.append(np.mean([low <= 2 / 7 <= high for low, high in intervals]))  # 2/7 is the mean of Beta(2, 5)
        widths[n] = np.mean([high - low for low, high in intervals])
    assert all(0.89 <= share <= 0.99 for share in covered)
    assert widths[50] / widths[200] == pytest.approx(2, abs=0.15)  # width goes with 1 / sqrt(n)


def test_an_interval_depends_on_its_seed_only():
    values = pd.DataFrame({"ndcg": np.random.default_rng(0).random(30)})
    first, again, other = (Report("m", values, np.ones(30), seed=seed).interval for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    assert_array_equal(report([0.5] * 9).interval.loc["ndcg"], [0.5, 0.5])


def test_a_report_shows_itself():
    assert repr(report([0.5, 0.5])) == "Report(model, 2 users: ndcg 0.5000 [0.5000, 0.5000])"


# ---- two models ----


def test_p_is_about_uniform_when_the_models_are_alike():
    rng = np.random.default_rng(3)
    p = np.array([compare(report(rng.random(40)), report(rng.random(40)), 400)["p"]["ndcg"] for _ in range(300)])
    for level in (0.05, 0.25, 0.5, 0.75):
        assert (p <= level).mean() == pytest.approx(level, abs=3 * (level * (1 - level) / 300) ** 0.5)


def test_p_is_smallest_when_one_model_is_always_better():
    worse = np.random.default_rng(0).random(50)
    table = compare(report(worse + 0.01), report(worse), resamples=999)
    assert table["difference"]["ndcg"] == pytest.approx(0.01)
    assert table["p"]["ndcg"] == 1 / 1000
    assert_allclose(table.loc["ndcg", ["low", "high"]].astype(float), 0.01)  # in pairs, nothing varies
    back = compare(report(worse), report(worse + 0.01), resamples=999)
    assert back["difference"]["ndcg"] == pytest.approx(-0.01)
    assert back["p"]["ndcg"] == 1 / 1000
    assert compare(report(worse), report(worse))["p"]["ndcg"] == 1


@pytest.mark.parametrize("metric", ["ndcg", "rmse"])
def test_p_comes_close_to_all_ways_of_swapping(metric):
    rng = np.random.default_rng(8)
    a, b, weights = rng.random(9), rng.random(9) + 0.4, rng.integers(1, 5, 9)
    power = 2 if metric == "rmse" else 1

    def mean(values):
        return np.average(values**power, weights=weights) ** (1 / power)

    swaps = [np.array(keep) for keep in product([True, False], repeat=9)]
    differences = [mean(np.where(keep, a, b)) - mean(np.where(keep, b, a)) for keep in swaps]
    exact = np.mean(np.abs(differences) >= abs(mean(a) - mean(b)) - 1e-12)
    pair = (report(pd.DataFrame({metric: values}), weights=weights) for values in (a, b))
    found = compare(*pair, resamples=5000).loc[metric]
    assert found["difference"] == pytest.approx(mean(a) - mean(b))
    assert found["p"] == pytest.approx(exact, abs=0.02)
    assert 0.01 < exact < 0.5  # else this says little


def test_pairing_is_surer_than_two_intervals():
    easy = np.random.default_rng(2).random(80)
    a = report(easy + np.random.default_rng(3).normal(0.02, 0.02, 80))
    b = report(easy)
    assert a.interval["low"]["ndcg"] < b.interval["high"]["ndcg"]  # they overlap,
    table = compare(a, b)
    assert table["low"]["ndcg"] > 0  # and yet one is better
    assert table["p"]["ndcg"] < 0.01


def test_compare_pairs_shared_metrics_of_the_same_users():
    first = report(pd.DataFrame({"ndcg": [0.1, 0.2], "diversity": [np.nan, np.nan], "mrr": [1.0, 0.0]}))
    second = report(pd.DataFrame({"diversity": [np.nan, np.nan], "ndcg": [0.3, 0.4]}))
    table = compare(first, second)
    assert table.index.tolist() == ["ndcg", "diversity"]
    assert table.columns.tolist() == ["difference", "low", "high", "p"]
    assert table.loc["diversity"].isna().all()  # no difference to be sure of
    with pytest.raises(SettingError, match=r"model.*other"):
        compare(first, report([0.1, 0.2, 0.3], "other"))


# ---- settings ----


def test_search_puts_the_best_first(crowd):
    train, valid = splits.random_split(crowd)
    table = search(EASE, [{"l2": 1.0}, {"l2": 30.0}, {"l2": 1e9}], train, valid, "recall", 3)
    expected = {l2: evaluate(EASE(l2).fit(train), train, valid, 3).mean["recall"] for l2 in (1.0, 30.0, 1e9)}
    assert dict(zip(table["l2"], table["recall"], strict=True)) == expected
    assert table["recall"].is_monotonic_decreasing
    errors = search(ItemMean, [{"damping": d} for d in (0.0, 5.0, 500.0)], train, valid, "rmse")
    assert errors["rmse"].is_monotonic_increasing
    assert errors["rmse"].nunique() == 3


@pytest.mark.parametrize("metric", ["accuracy", "gini"])
def test_search_names_a_metric_that_says_nothing_of_better(crowd, metric):
    train, valid = splits.random_split(crowd)
    with pytest.raises(SettingError, match=f"metric='{metric}'.*ndcg.*mae"):
        search(EASE, [{"l2": 1.0}], train, valid, metric)
