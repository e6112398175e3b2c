"""Neighbors against brute force, baselines against a direct solution."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from llmrec_lite import Dataset, evaluate, evaluate_ratings, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.neighbors import BaselineKNN, BiasBaseline, ItemKNN, UserKNN, cosine_neighbors


def dataset(matrix: np.ndarray) -> Dataset:
    """Users and items by number; a cell that is not 0 is a rating."""
    users, items = np.nonzero(matrix)
    log = pd.DataFrame({"user_id": users, "item_id": items, "rating": matrix[users, items].astype(float)})
    everyone, everything = (pd.DataFrame({f"{kind}_id": range(n)}) for kind, n in zip(("user", "item"), matrix.shape))  # noqa: B905
    return Dataset.from_frames(log, everything, everyone)


MET = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
THIRD, HALF, ROOT = 2 / 6**0.5, 1 / 2, 1 / 3**0.5  # 2/sqrt(2*3), 1/sqrt(2*2), 1/sqrt(1*3)


# ---- similarity ----


def test_cosine_neighbors_by_hand():
    expected = [[0, THIRD, HALF, 0, 0], [THIRD, 0, THIRD, 0, 0], [HALF, THIRD, 0, 0, 0], [0] * 5, [0] * 5]
    ours = cosine_neighbors(sparse.csr_array(MET.astype(float)), k=5)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert ours.dtype == np.float32


def test_only_the_nearest_are_kept_and_ties_with_the_last_of_them():
    nearest = cosine_neighbors(sparse.csr_array(MET.astype(float)), k=1)
    assert (nearest > 0).tolist() == [
        [False, True, False, False, False],
        [True, False, True, False, False],  # both are equally near
        [False, True, False, False, False],
        [False] * 5,
        [False] * 5,
    ]


def test_shrinking_is_added_to_the_product_of_the_norms():
    ours = cosine_neighbors(sparse.csr_array(MET.astype(float)), k=5, shrink=2)
    assert ours[0, 1] == pytest.approx(2 / (6**0.5 + 2))
    assert ours[0, 2] == pytest.approx(1 / (2 + 2))


@given(arrays(bool, (6, 5)), st.integers(1, 8))
def test_cosine_neighbors_equal_brute_force(met, k):
    x = met.astype(float)
    expected = np.zeros((6, 6))
    for a in range(6):
        row = {b: x[a] @ x[b] / np.sqrt(x[a].sum() * x[b].sum()) for b in range(6) if b != a and x[a] @ x[b]}
        for b, value in row.items():
            nearer = sum(other > value + 1e-6 for other in row.values())
            expected[a, b] = value if nearer < k else 0
    np.testing.assert_allclose(cosine_neighbors(sparse.csr_array(x), k), expected, atol=1e-6)


@pytest.mark.parametrize("model", [UserKNN, ItemKNN, BaselineKNN])
def test_no_neighbors_is_an_error(model):
    with pytest.raises(SettingError, match="0"):
        model(k=0).fit(dataset(MET))


# ---- lists ----


def test_user_neighbors_by_hand():
    scores = UserKNN(k=10).fit(dataset(MET)).score_indices(range(5))
    np.testing.assert_allclose(scores[0], [THIRD, THIRD + HALF, THIRD + HALF, 0], atol=1e-6)
    assert not scores[3:].any()  # the only reader of item 3, and the reader of nothing
    nearest = UserKNN(k=1).fit(dataset(MET)).score_indices([0, 1])
    np.testing.assert_allclose(nearest, [[THIRD, THIRD, THIRD, 0], [THIRD, 2 * THIRD, THIRD, 0]], atol=1e-6)


def test_item_neighbors_by_hand():
    # Items 0, 1, 2 were met by users {0, 1}, {0, 1, 2}, {1, 2}.
    scores = ItemKNN(k=10).fit(dataset(MET)).score_indices(range(5))
    np.testing.assert_allclose(scores[0], [THIRD, THIRD, HALF + THIRD, 0], atol=1e-6)
    assert not scores[3:].any()
    # With one neighbor an item: item 2's is item 1, so item 0 of user 0's history no longer counts for it.
    np.testing.assert_allclose(ItemKNN(k=1).fit(dataset(MET)).score_indices([0]), [[THIRD, THIRD, THIRD, 0]], atol=1e-6)


@given(arrays(bool, (6, 5)).filter(np.any), st.integers(1, 5))
def test_an_item_is_scored_by_its_own_neighbors_not_by_those_it_is_a_neighbor_of(met, k):
    similarity = cosine_neighbors(sparse.csr_array(met.T.astype(float)), k)  # row i: the neighbors of i
    expected = [[sum(similarity[i, j] for j in np.flatnonzero(row)) for i in range(5)] for row in met]
    np.testing.assert_allclose(ItemKNN(k).fit(dataset(met)).score_indices(range(6)), expected, atol=1e-6)


@given(arrays(bool, (7, 5)).filter(np.any), st.integers(1, 8), st.sampled_from([0.0, 1.5]))
def test_a_copy_of_a_user_meets_the_user_and_the_same_neighbors(met, k, shrink):
    data, x = dataset(met), met.astype(float)
    copies = [[(item, 1.0) for item in np.flatnonzero(row)] for row in met]
    size = x.sum(1)
    similarity = x @ x.T / np.maximum(np.sqrt(np.outer(size, size)) + shrink, 1e-9)
    for row in similarity:  # the user itself is one of the k
        row[row < np.sort(row)[::-1][min(k, 7) - 1] - 1e-6] = 0
    new = UserKNN(k, shrink).fit(data).score_new(copies)
    np.testing.assert_allclose(new, similarity @ x, atol=1e-5)


def test_a_copy_scores_as_the_user_does_plus_the_users_own_row():
    model = UserKNN(k=20).fit(dataset(MET))
    copy = model.score_new([[(0, 5.0), (1, 5.0)]])[0]
    np.testing.assert_allclose(copy, model.score_indices([0])[0] + MET[0], atol=1e-6)


# ---- ratings ----


@pytest.fixture(scope="module")
def rated() -> Dataset:
    """20 users and 12 items, half of the cells rated with a fraction, so that no two similarities tie."""
    rng = np.random.default_rng(2)
    level = 3 + rng.normal(0, 0.7, (20, 1)) + rng.normal(0, 0.7, 12) + rng.normal(0, 0.5, (20, 12))
    return dataset(np.where(rng.random((20, 12)) < 0.5, level, 0))


def direct_baseline(data: Dataset, damping: float) -> np.ndarray:
    """All predictions of min sum (r - mu - b_u - b_i)^2 + damping (|b_u|^2 + |b_i|^2), by least squares."""
    rows, n_users = np.arange(len(data)), data.n_users
    design = np.zeros((len(data), n_users + data.n_items))
    design[rows, data.user_index] = design[rows, n_users + data.item_index] = 1
    penalty = damping**0.5 * np.eye(design.shape[1])
    mean = data.ratings.astype(float).mean()
    target = np.concatenate([data.ratings - mean, np.zeros(design.shape[1])])
    bias = np.linalg.lstsq(np.vstack([design, penalty]), target, rcond=None)[0]
    return mean + bias[:n_users, None] + bias[n_users:]


@pytest.mark.parametrize("damping", [0.0, 5.0])
def test_the_baseline_converges_to_the_least_squares_solution(rated, damping):
    model = BiasBaseline(item_damping=damping, user_damping=damping, sweeps=500).fit(rated)
    np.testing.assert_allclose(model.score_indices(range(20)), direct_baseline(rated, damping), rtol=1e-5)
    pairs = np.array([3, 3, 19]), np.array([11, 0, 5])
    np.testing.assert_allclose(model.predict_indices(*pairs), direct_baseline(rated, damping)[pairs], rtol=1e-5)


def test_the_two_dampings_pull_at_their_own_side(rated):
    items = BiasBaseline(item_damping=1e9, user_damping=0, sweeps=3).fit(rated)
    assert abs(items.item_bias_).max() < 1e-6 < abs(items.user_bias_).max()
    users = BiasBaseline(item_damping=0, user_damping=1e9, sweeps=3).fit(rated)
    assert abs(users.user_bias_).max() < 1e-6 < abs(users.item_bias_).max()


@pytest.mark.filterwarnings("error")
def test_without_damping_an_unrated_item_has_no_bias():
    model = BiasBaseline(item_damping=0, user_damping=0).fit(dataset(np.column_stack([MET * 3, np.zeros(5, int)])))
    assert np.isfinite(model.score_indices(range(5))).all()
    assert model.user_bias_[4] == model.item_bias_[4] == 0


def slow_baseline_knn(data: Dataset, k: int, shrink: float) -> np.ndarray:
    """The docstring's formula in loops."""
    base = BiasBaseline().fit(data).score_indices(range(data.n_users)).astype(float)
    latest = data.matrix("rating").tocoo()
    rest = {(u, i): r - base[u, i] for u, i, r in zip(*latest.coords, latest.data.astype(float), strict=True)}
    raters = [{u for u, i in rest if i == item} for item in range(data.n_items)]
    predicted = base.copy()
    for user in range(data.n_users):
        for item in range(data.n_items):
            near = []
            for other in range(data.n_items):
                both = raters[item] & raters[other]
                if other == item or (user, other) not in rest or not both:
                    continue
                a, b = (np.array([rest[u, j] for u in sorted(both)]) for j in (item, other))
                pearson = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
                near.append((max(pearson, 0) * len(both) / (len(both) + shrink), rest[user, other]))
            near = sorted(near, reverse=True)[:k]
            if sum(s for s, _ in near) > 0:
                predicted[user, item] += sum(s * r for s, r in near) / sum(s for s, _ in near)
    return predicted


@pytest.mark.parametrize(("k", "shrink"), [(40, 100.0), (2, 3.0), (1, 0.0)])
def test_baseline_knn_equals_the_formula(rated, k, shrink):
    model = BaselineKNN(k, shrink).fit(rated)
    expected = slow_baseline_knn(rated, k, shrink)
    np.testing.assert_allclose(model.score_indices(range(20)), expected, rtol=1e-4)
    users, items = np.divmod(np.random.default_rng(0).permutation(240), 12)
    np.testing.assert_allclose(model.predict_indices(users, items), expected[users, items], rtol=1e-4)


def test_baseline_knn_takes_the_latest_of_repeated_ratings(rated):
    log = rated.interactions.assign(timestamp=1)
    again = log.head(30).assign(timestamp=0, rating=1.0)
    repeated = rated.with_interactions(pd.concat([log, again]))
    baseline = BiasBaseline(sweeps=0)  # the same for both, since their means are subtracted: compare what is left
    one, two = (BaselineKNN(5, 2, baseline).fit(data) for data in (rated, repeated))
    assert two.residual_.nnz == one.residual_.nnz
    shift = rated.ratings.mean() - repeated.ratings.mean()
    np.testing.assert_allclose(two.residual_.data - one.residual_.data, shift, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_without_shrinking_items_that_share_no_user_are_no_neighbors():
    data = dataset(np.array([[5, 3, 0], [1, 4, 0], [0, 0, 2]]))
    model = BaselineKNN(shrink=0).fit(data)
    assert np.isfinite(model.similarity_).all()
    assert not model.similarity_[2, :2].any()
    np.testing.assert_allclose(model.score_indices(range(3)), slow_baseline_knn(data, 40, 1e-12), rtol=1e-4)


def test_baseline_knn_uses_the_baseline_it_is_given(rated):
    given_one = BaselineKNN(shrink=1e12, baseline=BiasBaseline(sweeps=0)).fit(rated)
    assert given_one.baseline_.sweeps == 0


# ---- real data ----


@pytest.mark.data
def test_item_neighbors_reach_the_measured_ndcg(movielens):
    train, test = splits.recommenders_split(movielens)
    assert evaluate(ItemKNN(k=200).fit(train), train, test).mean["ndcg"] == pytest.approx(0.4415, abs=0.002)


@pytest.mark.data
def test_baseline_neighbors_reach_the_measured_rmse(movielens):
    train, test = next(splits.kfold(movielens, 5))
    assert evaluate_ratings(BaselineKNN().fit(train), test).mean["rmse"] <= 0.925


def test_new_users_have_k_neighbors_in_a_large_log():
    """Long rows are partly sorted only, and the k-th largest has to be asked for by its place."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((943, 80)) < rng.uniform(0.05, 0.6, (943, 1)))
    data = Dataset.from_frames(pd.DataFrame({"user_id": users, "item_id": items}))
    seen = data.matrix()
    new = rng.random((600, data.n_items)) < 0.2
    shared = new.astype(np.float32) @ seen.T
    cosine = shared / np.sqrt(np.outer(new.sum(1).astype(np.float32), seen.sum(1)))  # in float32, as ties are frequent
    cosine[cosine < np.sort(cosine, axis=1)[:, [-100]]] = 0
    ids = data.items["item_id"].to_numpy()
    scores = UserKNN(k=100).fit(data).score_new([[(item, 1.0) for item in ids[row]] for row in new])
    np.testing.assert_allclose(scores, cosine @ seen, rtol=1e-3)
