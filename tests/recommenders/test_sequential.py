"""What comes next: causality, padding, attention by hand, and patterns that every network must learn."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from llmrec_lite import Dataset, evaluate, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.sequential import (
    CaserNet,
    DecayedBigram,
    GRUNet,
    SASRec,
    SASRecBlock,
    SASRecNet,
    SequenceRecommender,
    histories_to_sequences,
)

NETWORKS = {
    "caser": lambda: CaserNet(10, dim=8, dropout=0.5),
    "gru": lambda: GRUNet(10, dim=8, dropout=0.5),
    "lstm": lambda: GRUNet(10, dim=8, dropout=0.5, cell="lstm"),
    "sasrec": lambda: SASRecNet(10, dim=8, dropout=0.5, length=12),
}
MODELS = ["Caser", "GRU4Rec", "SASRec"]


def walks(*sequences: str, items: str = "abcdef") -> Dataset:
    """One user a string, "u0", "u1", ...; one item a letter, one second a step."""
    rows = [(f"u{u}", item, 1.0, t) for u, sequence in enumerate(sequences) for t, item in enumerate(sequence)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    users = pd.DataFrame({"user_id": [f"u{u}" for u in range(len(sequences))]})
    return Dataset.from_frames(log, pd.DataFrame({"item_id": list(items)}), users)


# ---- histories ----


def test_histories_go_by_time_and_without_times_as_they_come():
    data = walks("ab")
    histories = [[("c", 1.0, 30), ("a", 1.0, 10), ("b", 1.0, 20)], [("c", 1.0), ("a", 1.0)], []]
    sequences = histories_to_sequences(histories, data)
    assert [s.tolist() for s in sequences] == [[0, 1, 2], [2, 0], []]


def test_entries_of_one_second_keep_their_order():
    history = [("c", 5.0, 10), ("a", 1.0, 10), ("b", 3.0, 9)]
    assert histories_to_sequences([history], walks("ab"))[0].tolist() == [1, 2, 0]


# ---- counting ----


def test_the_decayed_bigram_by_hand():
    model = DecayedBigram(steps=2, decay=0.5, normalize=1.0).fit(walks("abc", "ac", "b", items="abcd"))
    # a is followed by b (d 1), by c (d 2: 0.5) and in the second walk by c (d 1); b by c; c and d by nothing.
    expected = [[0, 1 / 2.5, 1.5 / 2.5, 0], [0, 0, 1, 0], [0] * 4, [0] * 4]
    np.testing.assert_allclose(model.follows_, expected, atol=1e-7)
    scores = model.score_indices([0, 1, 2])
    np.testing.assert_allclose(scores[0], [0, 0, 0.5, 0], atol=1e-7)  # c says nothing, b is one step back
    np.testing.assert_allclose(scores[1], [0, 0.2, 0.3, 0], atol=1e-7)
    np.testing.assert_allclose(scores[2], [0, 0, 1, 0], atol=1e-7)
    longer = model.score_new([[("a", 1.0), ("b", 1.0), ("d", 1.0)], []])
    np.testing.assert_allclose(longer, [[0, 0, 0.5, 0], [0] * 4], atol=1e-7)  # a is out of the window


@pytest.mark.parametrize(("normalize", "scale"), [(0.0, 1.0), (0.5, 2.5**0.5)])
def test_rows_are_divided_by_a_power_of_their_sum(normalize, scale):
    model = DecayedBigram(steps=2, decay=0.5, normalize=normalize).fit(walks("abc", "ac", items="abcd"))
    np.testing.assert_allclose(model.follows_[0], np.array([0, 1, 1.5, 0]) / scale, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"decay": 0.0}, {"decay": 1.1}, {"decay": float("nan")}])
def test_the_decayed_bigram_rejects_bad_settings(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(SettingError, match=f"{name}={value}"):
        DecayedBigram(**settings)


# ---- networks ----


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network in evaluation mode whose row for padding is zero, as in training."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = NETWORKS[request.param]().eval()
    net.name = request.param
    return net


@torch.no_grad()
def test_a_state_for_every_place(network):
    states = network(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]]))
    assert states.shape == (2, 4, 8)
    assert torch.isfinite(states).all()
    assert torch.isfinite(network(torch.zeros(1, 4, dtype=torch.long))).all()  # nothing but padding


@torch.no_grad()
def test_a_later_item_does_not_change_an_earlier_state(network):
    items = torch.tensor([[0, 4, 2, 9, 1, 7, 3, 8]])
    changed = items.clone()
    changed[0, 5] = 6
    before, after = network(items), network(changed)
    torch.testing.assert_close(after[:, :5], before[:, :5])
    assert (abs(after - before)[0, 5:].amax(-1) > 1e-4).all()


@torch.no_grad()
def test_a_state_does_not_depend_on_the_other_rows(network):
    items = torch.tensor([[0, 4, 2, 9], [1, 7, 3, 8], [0, 0, 0, 5]])
    torch.testing.assert_close(network(items)[1:2], network(items[1:2]))


@torch.no_grad()
def test_padding_is_invisible_except_to_a_recurrent_network(network):
    short, padded = torch.tensor([[4, 2, 9]]), torch.tensor([[0, 0, 0, 0, 4, 2, 9]])
    difference = abs(network(padded)[:, 4:] - network(short)).max().item()
    if network.name in ("gru", "lstm"):
        # Its state moves while it reads zeros. Training and scoring pad to one length, so this does no harm.
        assert difference > 1e-4
    else:
        assert difference < 1e-5


@torch.no_grad()
def test_caser_slides_its_filters_over_the_picture_of_the_window():
    torch.manual_seed(3)
    net = CaserNet(10, dim=4, dropout=0.5, window=3, filters=2).eval()
    items = torch.tensor([[3, 4, 2, 9, 1]])
    for place in range(5):
        picture = torch.zeros(3, 4)  # window x d, the last item at the bottom, zeros above the first item
        seen = net.embed.weight[items[0, max(0, place - 2) : place + 1]]
        picture[3 - len(seen) :] = seen
        strongest = []
        for height, conv in zip((2, 3), net.horizontal, strict=True):
            tops = range(4 - height)
            answers = [
                [(w * picture[top : top + height].T).sum() + b for top in tops]
                for w, b in zip(conv.weight, conv.bias, strict=True)
            ]
            strongest += [max(row).relu() for row in answers]
        sums = [net.vertical.weight @ column + net.vertical.bias for column in picture.T]  # 4 sums a dimension
        expected = net.out[1](torch.cat([torch.stack(strongest), *sums]))
        torch.testing.assert_close(net(items)[0, place], expected)


@torch.no_grad()
def test_caser_reads_its_window_only():
    net = NETWORKS["caser"]().eval()
    items = torch.tensor([[3, 4, 2, 9, 1, 7, 5]])
    changed = items.clone()
    changed[0, 0] = 8
    moved = abs(net(changed) - net(items))[0].amax(-1) > 1e-6
    assert moved.tolist() == [True] * 5 + [False] * 2


@torch.no_grad()
def test_sasrec_tells_the_order_of_the_past():
    # One block: without places its attention sees a set. (Two blocks could tell from the causal mask.)
    net = SASRecNet(10, dim=8, dropout=0.5, length=12, blocks=1).eval()
    states = [net(torch.tensor([items]))[0, -1] for items in ([1, 2, 3], [2, 1, 3])]
    assert abs(states[0] - states[1]).max() > 1e-3


@torch.no_grad()
def test_the_attention_of_sasrec_is_softmax_of_qk_times_v():
    torch.manual_seed(2)
    n, t, d, heads = 2, 5, 6, 2
    block = SASRecBlock(d, heads, dropout=0.7).eval()
    x = torch.randn(n, t, d)
    mask = torch.ones(t, t, dtype=torch.bool).tril().repeat(n, 1, 1)
    mask[1, :, 0] = False  # the second row begins with padding
    mask[1, 0, 0] = True
    q, k, v = block.qkv(block.norm_attn(x)).chunk(3, dim=-1)
    seen = torch.zeros(n, t, d)
    for head in range(heads):
        own = slice(head * d // heads, (head + 1) * d // heads)
        for row in range(n):
            for place in range(t):
                logits = torch.stack([q[row, place, own] @ k[row, other, own] for other in range(t)])
                logits = (logits / (d // heads) ** 0.5).masked_fill(~mask[row, place], -torch.inf)
                seen[row, place, own] = torch.softmax(logits, 0) @ v[row, :, own]
    expected = x + block.out_proj(seen)
    expected = expected + block.mlp(block.norm_mlp(expected))
    torch.testing.assert_close(block(x, mask[:, None]), expected, atol=1e-5, rtol=1e-5)


# ---- training ----

CYCLE = "abcdefabcdefabcdef"


@pytest.mark.parametrize("loss", ["ce", "bce"])
@pytest.mark.parametrize("name", MODELS)
def test_a_cycle_is_learned_by_heart(make, name, loss):
    data = walks(*(CYCLE[start : start + 13] for start in range(5)))
    settings = {"dim": 16, "length": 6, "n_epochs": 60, "learning_rate": 0.01, "batch_size": 4, "dropout": 0.1}
    model = make(name, loss=loss, **settings).fit(data)
    assert model.losses_[-1] < 0.2 * model.losses_[0]
    ends = [data.sequences()[user][-1] for user in range(5)]
    assert model.score_indices(range(5)).argmax(1).tolist() == [(end + 1) % 6 for end in ends]
    assert model.score_new([[("c", 1.0), ("d", 1.0), ("e", 1.0)]]).argmax() == 5


@pytest.mark.parametrize("n", [1, 2, 4, 5, 6, 9, 13])
def test_every_step_of_a_history_is_a_target_once(make, monkeypatch, n):
    batches = []
    monkeypatch.setattr(SequenceRecommender, "_train", lambda self, padded: batches.append(padded))
    letters = "abcdefghijklm"
    make("GRU4Rec", length=4).fit(walks(letters[:n], "ab", items=letters))
    inputs, targets = batches[0][:, :-1], batches[0][:, 1:]
    steps = sorted(zip(inputs[inputs > 0].tolist(), targets[inputs > 0].tolist(), strict=True))
    assert steps == sorted([(place, place + 1) for place in range(1, n)] + [(1, 2)])
    assert batches[0].shape[1] == 5


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_the_loss_by_hand(make, loss):
    model = make("GRU4Rec", loss=loss, dropout=0.0, negatives=2, n_epochs=0).fit(walks("abc", "bca"))
    model.net_.eval()
    model.bias_.data = torch.linspace(-1, 1, 7)
    pieces = torch.tensor([[0, 0, 0, 0, 2, 5, 6], [0, 0, 0, 0, 0, 1, 4]])
    drawn = torch.randint(1, 7, (3, 2), generator=torch.Generator().manual_seed(8))
    states, total = model.net_(pieces[:, :-1]), 0.0
    for n, (row, place) in enumerate([(0, 4), (0, 5), (1, 5)]):
        logits = model.net_.embed.weight @ states[row, place] + model.bias_
        target = pieces[row, place + 1]
        if loss == "ce":
            total -= torch.log_softmax(logits[1:], 0)[target - 1] / 3
        else:
            for item in [target, *drawn[n]]:
                sign = 1 if item == target else -1
                total -= torch.nn.functional.logsigmoid(sign * logits[item]) / 3
    torch.testing.assert_close(model._loss(pieces, torch.Generator().manual_seed(8)), total)


@pytest.mark.parametrize("name", MODELS)
def test_the_row_of_padding_stays_zero(make, name):
    model = make(name, weight_decay=0.1, loss="bce").fit(walks("abcdef", "ab"))
    assert not model.net_.embed.weight[0].any()


@pytest.mark.parametrize("name", MODELS)
def test_only_the_last_items_are_read(make, name):
    model = make(name, length=4).fit(walks("abcdef", "fedcba"))
    short, long = [(i, 1.0) for i in "cbad"], [(i, 1.0) for i in "fefecbad"]
    np.testing.assert_allclose(*model.score_new([short, long]), atol=1e-6)
    assert abs(np.subtract(*model.score_new([short, short[::-1]]))).max() > 1e-4  # and their order matters


@pytest.mark.parametrize("name", MODELS)
def test_users_without_history_or_with_one_item_are_scored(make, name):
    model = make(name).fit(walks("abc", "", "b"))
    scores = model.score_indices([0, 1, 2])
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[1:], model.score_new([[], [("b", 1.0)]]), atol=1e-6)
    assert abs(scores[1] - scores[2]).max() > 1e-6


def test_the_callback_watches_and_stops_without_changing_the_training(make):
    data, seen = walks("abcdef", "bcdefa", "fab"), []

    def watch(epoch, model):
        seen.append((epoch, len(model.losses_), model.recommend(["u2"], k=1)["item_id"].item()))
        return epoch == 2

    watched = make("SASRec", n_epochs=5, on_epoch=watch).fit(data)
    assert [entry[:2] for entry in seen] == [(0, 1), (1, 2), (2, 3)]
    alone = make("SASRec", n_epochs=5).fit(data)
    assert len(alone.losses_) == 5
    assert alone.losses_[:3] == watched.losses_


def test_a_failed_fit_is_no_fit(make):
    model = make("SASRec")
    with pytest.raises(SettingError):
        model.fit(walks("a", "b"))
    with pytest.raises(NotFittedError):
        model.score_indices([0])


def test_bad_settings_are_named():
    with pytest.raises(SettingError, match="mse"):
        SASRec(loss="mse")
    with pytest.raises(TypeError, match="SASRec"):
        SequenceRecommender().fit(walks("abc"))


@pytest.mark.data
def test_the_decayed_bigram_reaches_the_measured_hit_rate(movielens):
    train, test = splits.leave_last_out(movielens)
    assert evaluate(DecayedBigram().fit(train), train, test).mean["hit_rate"] >= 0.19
