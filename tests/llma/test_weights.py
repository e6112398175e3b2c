"""Learning weights and gates from what no part has seen, on made-up judges whose worth is known."""

import numpy as np
import pytest
from scipy import sparse

from llmrec_lite.interface import top_k_unseen
from llmrec_lite.llma.fusion import fuse
from llmrec_lite.llma.weights import Gate, ScoredSplit, learn_cold_item_weight, learn_gate, learn_weights, mean_gate
from llmrec_lite.metrics import ndcg_at_k


def made_up(n=80, m=120, seed=0, counts=None, truth=None):
    """What people choose is the sum of two opinions; a third is noise."""
    rng = np.random.default_rng(seed)
    first, second, noise = (rng.normal(size=(n, m)) for _ in range(3))
    taste = (truth or (lambda a, b: 0.5 * a + 0.5 * b))(first, second)
    seen = sparse.csr_array((rng.random((n, m)) < 0.05).astype(float))
    order = np.argsort(-np.where(seen.toarray() > 0, -np.inf, taste), 1)[:, :15]
    chosen = np.zeros((n, m))
    np.put_along_axis(chosen, order, 1.0, 1)
    scores = {"first": first, "second": second, "noise": noise}
    return scores, seen, sparse.csr_array(chosen), np.arange(m) if counts is None else counts


def test_ndcg_is_that_of_the_package_where_all_items_are_candidates():
    scores, seen, chosen, counts = made_up()
    held = ScoredSplit.of(scores, seen, chosen, counts, candidates=120)
    weights = {"first": 0.6, "second": 0.3, "noise": 0.1}
    fused = fuse(scores, weights, among=seen.toarray() == 0)
    items = top_k_unseen(fused, seen, 10)[0]
    np.testing.assert_allclose(held.ndcg(held.fused(weights)), ndcg_at_k(items, chosen, 10), atol=1e-9)


def test_candidates_are_what_a_part_has_among_its_best():
    scores, seen, chosen, counts = made_up()
    held = ScoredSplit.of(scores, seen, chosen, counts, candidates=5)
    for row in range(3):
        expected = set()
        for values in scores.values():
            order = np.argsort(-np.where(seen.toarray()[row] > 0, -np.inf, values[row]))
            expected |= set(order[:5].tolist())
        assert set(held.items[row][held.is_candidate[row]].tolist()) == expected
        assert (held.n_item[row] == counts[held.items[row]]).all()
    assert (held.n_user[:, 0] == (seen.toarray() > 0).sum(1)).all()


def test_what_no_part_proposes_counts_as_missed():
    scores = {"a": np.array([[3.0, 2.0, 1.0, 0.0]])}
    chosen = sparse.csr_array(np.array([[1.0, 0, 0, 1.0]]))
    held = ScoredSplit.of(scores, sparse.csr_array((1, 4)), chosen, np.zeros(4), candidates=2)
    assert held.ndcg(held.parts["a"])[0] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_among_narrows_the_candidates_and_keeps_the_scale():
    scores, seen, chosen, counts = made_up()
    some = np.arange(120) < 40
    held = ScoredSplit.of(scores, seen, chosen, counts, among=some)
    assert (held.items[held.is_candidate] < 40).all()
    row = np.flatnonzero(seen.toarray()[0] == 0)
    values = scores["first"][0]
    z = (values - values[row].mean()) / values[row].std()
    np.testing.assert_allclose(
        held.parts["first"][0][held.is_candidate[0]], z[held.items[0][held.is_candidate[0]]], rtol=1e-4
    )


def test_weights_of_two_equal_judges_and_noise():
    weights = learn_weights([ScoredSplit.of(*made_up(seed=seed)) for seed in range(2)])
    assert weights["noise"] < 0.1
    assert abs(weights["first"] - weights["second"]) < 0.2
    assert sum(weights.values()) == pytest.approx(1)


def test_weights_follow_what_matters():
    held = ScoredSplit.of(*made_up(truth=lambda a, b: 0.9 * a + 0.1 * b))
    weights = learn_weights([held])
    assert weights["first"] > weights["second"] + 0.4
    assert np.nanmean(held.ndcg(held.fused(weights))) > np.nanmean(held.ndcg(held.parts["second"]))


def test_nobody_chose_anything():
    scores, seen, _, counts = made_up()
    nothing = ScoredSplit.of(scores, seen, sparse.csr_array(seen.shape), counts)
    assert np.isnan(nothing.ndcg(nothing.parts["first"])).all()
    assert learn_weights([nothing]) == {"first": 1.0, "second": 0.0, "noise": 0.0}


def test_the_gate_by_hand():
    gate = Gate({"a": 1.0, "b": 0.0}, new_user={"a": 0.0, "b": 1.0}, user_half_point=5.0)
    weights = gate.weights(np.array([[0], [5], [20]]), np.zeros(2))
    np.testing.assert_allclose(weights["a"].ravel(), [0, 0.5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(weights["a"] + weights["b"], 1, rtol=1e-6)


def test_a_new_item_has_the_weights_of_new_items_whoever_asks():
    gate = Gate({"a": 1.0, "b": 0.0, "c": 0.0}, {"a": 0, "b": 1.0, "c": 0}, 3.0, {"a": 0, "b": 0, "c": 1.0}, 2.0)
    weights = gate.weights(np.array([[0], [100]]), np.array([0, 2, 10**6]))
    np.testing.assert_allclose(weights["c"], [[1, 0.5, 0], [1, 0.5, 0]], atol=1e-5)
    np.testing.assert_allclose(weights["b"][0], [0, 0.5, 1], atol=1e-5)
    np.testing.assert_allclose(sum(weights.values()), 1, atol=1e-6)


def test_a_gate_without_new_weights_is_plain():
    assert Gate({"a": 0.3, "b": 0.7}).weights(np.array([[0]]), np.zeros(4)) == {"a": 0.3, "b": 0.7}


def test_the_gate_that_is_learned_sends_new_users_to_the_right_judge():
    """People well known follow the first opinion, people of whom little is known the second."""
    usual = ScoredSplit.of(*made_up(truth=lambda a, b: a))
    object.__setattr__(usual, "n_user", np.full((80, 1), 200))
    few = ScoredSplit.of(*made_up(seed=3, truth=lambda a, b: b))
    object.__setattr__(few, "n_user", np.full((80, 1), 1))
    object.__setattr__(few, "n_item", np.full_like(few.n_item, 50))
    object.__setattr__(usual, "n_item", np.full_like(usual.n_item, 50))
    known = learn_weights([usual])
    assert known["first"] > 0.8
    gate = learn_gate(known, [usual], [few], [few])
    at = {n: gate.weights(np.array([[n]]), np.array([50]))["second"] for n in (0, 200)}
    assert float(np.max(at[0])) > 0.6 > 0.3 > float(np.max(at[200]))
    assert gate.ndcg([few]).mean() > Gate(known).ndcg([few]).mean() + 0.1
    assert gate.ndcg([usual]).mean() >= Gate(known).ndcg([usual]).mean()


def test_a_gate_that_helps_nobody_is_not_taken():
    usual = ScoredSplit.of(*made_up(truth=lambda a, b: a))
    known = {"first": 1.0, "second": 0.0, "noise": 0.0}
    assert learn_gate(known, [usual], [usual], [usual]) == Gate(known)


def test_a_part_in_front_of_what_nobody_has_met_goes_as_far_as_costs_nothing():
    """Half of the items are unmet. A judge who is right of them may lead; one who is noise must stay behind."""
    counts = np.where(np.arange(120) < 60, 10**9, 0)
    held = ScoredSplit.of(*made_up(counts=counts, truth=lambda a, b: a))
    known = {"first": 0.7, "second": 0.3, "noise": 0.0}
    right, wrong = (learn_cold_item_weight(known, [held], part) for part in ("first", "noise"))
    assert right.new_item == {"first": 1.0, "second": 0.0, "noise": 0.0}
    assert 0 < wrong.new_item["noise"] <= 0.2
    assert (right.known, right.new_user) == (known, None)
    assert right.ndcg([held]).mean() >= Gate(known).ndcg([held]).mean()
    met = ScoredSplit.of(*made_up(counts=np.full(120, 10**9), truth=lambda a, b: a))
    assert learn_cold_item_weight(known, [met], "noise").new_item["noise"] == 1.0  # no item is cold


def test_the_mean_of_gates():
    first = Gate({"a": 0.4, "b": 0.6}, {"a": 1.0, "b": 0.0}, 1.0)
    second = Gate({"a": 0.6, "b": 0.4}, None, 9.0)
    mean = mean_gate([first, second])
    assert mean.known == pytest.approx({"a": 0.5, "b": 0.5})
    assert mean.new_user == pytest.approx({"a": 0.8, "b": 0.2})  # the second makes no difference: its known ones
    assert mean.user_half_point == pytest.approx(1.0)
    assert mean.new_item is None
    assert mean_gate([first, Gate({"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 1.0}, 9.0)]).user_half_point == pytest.approx(
        3.0
    )
    assert mean_gate([Gate({"a": 1.0}), Gate({"a": 1.0})]) == Gate({"a": 1.0})
