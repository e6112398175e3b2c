"""Vectors of texts: equal to plain transformers, kept on disk and never mixed up, and clear about bad input."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from llmrec_lite.errors import ModelFileError, OutOfMemoryError, SettingError
from llmrec_lite.language.encoder import TextEncoder, Whitening, length_batches, mean_cosine, pool

WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]


def save_model(folder, seed):
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=40).save_pretrained(folder)
    torch.manual_seed(seed)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, initializer_range=0.3, **shape)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "a", 0)


@pytest.fixture(scope="module")
def encoder(folder):
    return TextEncoder(folder, max_length=32, device="cpu", cache=False)


def random_texts(n, seed, longest=60):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice([*WORDS, "xyz"], rng.integers(1, longest))) for _ in range(n)]


def plain(folder, texts, how="mean", max_length=32, normalize=True):
    """What the card of a sentence encoder says to do, one padded batch."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].float()
    if how == "mean":
        vectors = (states * mask).sum(1) / mask.sum(1)
    else:
        vectors = states[:, 0] if how == "cls" else (states - 1e9 * (1 - mask)).max(1).values
    return (torch.nn.functional.normalize(vectors) if normalize else vectors).numpy()


# ---- vectors ----


@pytest.mark.parametrize("how", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_equal_plain_transformers(folder, how, normalize):
    texts = random_texts(40, 1)
    ours = TextEncoder(folder, how, normalize, 32, "cpu", cache=False).encode(texts)
    np.testing.assert_allclose(ours, plain(folder, texts, how, normalize=normalize), atol=1e-5)
    assert ours.shape == (40, 24)
    assert ours.dtype == np.float32
    if normalize:
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 50, 400, 10**6])
def test_a_vector_does_not_depend_on_its_batch(encoder, batch_tokens):
    texts = random_texts(50, 2)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts, batch_tokens), alone, atol=1e-5)


def test_equal_texts_are_computed_once(encoder, monkeypatch):
    rows = []
    forward = BertModel.forward
    monkeypatch.setattr(BertModel, "forward", lambda self, **to: rows.extend(to["input_ids"]) or forward(self, **to))
    vectors = encoder.encode(["red ship", "sea", "red ship", "red ship"])
    assert len(rows) == 2
    assert (vectors[0] == vectors[2]).all()
    assert not np.allclose(vectors[0], vectors[1])


def test_batches_hold_the_budget_cover_all_and_pad_only_what_is_small():
    lengths = sorted(np.random.default_rng(0).integers(1, 90, 400).tolist(), reverse=True)
    batches = list(length_batches(lengths, 1600))
    assert [i for b in batches for i in range(400)[b]] == list(range(400))
    for b in batches:
        sizes = lengths[b]
        assert sizes[0] * len(sizes) <= 1600
        equal = sizes.count(sizes[0])
        assert len(sizes) == equal or sizes[0] * equal < 100
    assert list(length_batches([7, 7, 7], 1)) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert list(length_batches([], 10)) == []


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 24)
    assert encoder.unknown_share([]).shape == (0,)


def test_long_texts_are_cut(encoder):
    long = " ".join(WORDS * 100)
    vectors = encoder.encode([long, "red", long])
    np.testing.assert_allclose(vectors[0], encoder.encode([" ".join((WORDS * 100)[:30])])[0], atol=1e-5)


def test_unknown_share_counts_what_the_vocabulary_lacks(encoder):
    shares = encoder.unknown_share(["red ships", "我想看", "red 😀", "red xyz blue xyz"])
    np.testing.assert_allclose(shares, [0, 1, 0.5, 0.5])


# ---- the cache ----


@pytest.fixture
def cached(folder, tmp_path):
    defaults = {"max_length": 32, "device": "cpu", "cache": tmp_path}
    return lambda model=folder, **settings: TextEncoder(model, **(defaults | settings))


def no_forward(self, **inputs):
    raise AssertionError("the vector should come from the cache")


def test_vectors_come_back_from_disk_as_they_were(cached, monkeypatch):
    texts = [*random_texts(20, 3), "film " * 60]
    first = cached().encode(texts)
    monkeypatch.setattr(BertModel, "forward", no_forward)
    again = cached()
    np.testing.assert_array_equal(again.encode(texts), first)


def test_another_model_or_setting_never_gets_the_same_file(cached, tmp_path):
    other = save_model(tmp_path / "b", 1)
    encoders = [cached(), cached(other), cached(pooling="max"), cached(normalize=False), cached(max_length=10)]
    vocabulary = tmp_path / "c"
    vocabulary.mkdir()
    for file in other.iterdir():
        (vocabulary / file.name).write_bytes(file.read_bytes().replace(b'"space"', b'"place"'))
    encoders.append(cached(vocabulary))
    for n, encoder in enumerate([*encoders, cached()], 1):
        encoder.encode(random_texts(20, 0))
        assert len(list(tmp_path.glob("*.npz"))) == min(n, len(encoders))


def test_the_pooler_that_many_folders_lack_plays_no_part(cached, folder, tmp_path):
    BertModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(tmp_path / "bare")
    for file in folder.glob("tok*"):
        (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    for encoder in (cached(tmp_path / "bare"), cached()):
        encoder.encode(random_texts(20, 0))
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_cache_false_writes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    TextEncoder(folder, max_length=32, device="cpu", cache=False).encode(["red"])
    assert not list(tmp_path.iterdir())
    TextEncoder(folder, max_length=32, device="cpu").encode(random_texts(20, 0))
    assert list((tmp_path / "embeddings").glob("*.npz"))


def flip(file, share):
    content = bytearray(file.read_bytes())
    content[int(len(content) * share)] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "no archive": lambda f: f.write_bytes(b"not an archive, and long enough to have a header" * 50),
    "cut short": lambda f: f.write_bytes(f.read_bytes()[:5000]),
    "empty": lambda f: f.write_bytes(b""),
    "one bit of a vector": lambda f: flip(f, 0.7),
    "another archive": lambda f: np.savez(f, x=np.ones(3)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.filterwarnings("error")
def test_a_damaged_cache_is_made_anew(cached, damage, capsys, tmp_path):
    texts = random_texts(60, 4, 20)
    right = cached().encode(texts)
    (file,) = tmp_path.glob("*.npz")
    DAMAGE[damage](file)
    np.testing.assert_allclose(cached().encode(texts), right, atol=1e-6)
    assert str(file) in capsys.readouterr().err
    np.testing.assert_array_equal(cached().encode(texts), right)
    assert not capsys.readouterr().err


def test_vectors_of_others_stay_in_the_file(cached, monkeypatch):
    one, other = cached(), cached()
    texts = random_texts(60, 4, 20)
    other.encode(texts[:20])
    one.encode(texts[20:40])
    other.encode(texts[40:])
    right = cached().encode(texts)
    monkeypatch.setattr(BertModel, "forward", no_forward)
    np.testing.assert_array_equal(cached().encode(texts), right)


def test_a_single_request_is_kept_in_memory_only(cached, monkeypatch, tmp_path):
    encoder = cached()
    right = encoder.encode(["red ship"])
    assert not list(tmp_path.rglob("*.npz"))
    monkeypatch.setattr(BertModel, "forward", no_forward)
    np.testing.assert_array_equal(encoder.encode(["red ship"]), right)


def test_a_folder_that_cannot_be_used_costs_the_cache_and_not_the_vectors(cached, encoder, tmp_path, capsys):
    (tmp_path / "file").touch()
    texts = random_texts(20, 5)
    vectors = cached(cache=tmp_path / "file").encode(texts)
    np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-6)
    assert "are not kept" in capsys.readouterr().err


def test_an_interruption_keeps_what_was_computed(cached, monkeypatch):
    encoder, forward, calls, rng = cached(), BertModel.forward, [], np.random.default_rng(0)

    def interrupted(self, **inputs):
        calls.append(len(inputs["input_ids"]))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return forward(self, **inputs)

    monkeypatch.setattr(BertModel, "forward", interrupted)
    texts = [" ".join(rng.permutation(WORDS)[:n]) for n in range(1, 14) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(texts, batch_tokens=1)
    cached().encode(texts, batch_tokens=1)
    assert len(calls) == 20 + len(set(texts)) - 19  # 19 computed, one broken off, and those that were missing


# ---- what is wrong ----


def test_bad_texts_are_named(encoder):
    with pytest.raises(TypeError):
        encoder.encode("one string")
    with pytest.raises(SettingError, match=r"1 .*nan"):
        encoder.encode(["red", float("nan")])
    with pytest.raises(SettingError, match="2"):
        encoder.encode(["red", "blue", "  \n"])
    with pytest.raises(UnicodeEncodeError):
        encoder.encode(["red \ud83d"])


def test_bad_settings_are_named(folder):
    with pytest.raises(SettingError, match="median"):
        TextEncoder(folder, pooling="median")
    for length in (2, 41):
        with pytest.raises(SettingError, match=f"max_length.*{length}"):
            TextEncoder(folder, max_length=length)


def test_a_model_that_is_not_there_gives_one_clear_error(monkeypatch):
    import huggingface_hub

    def offline(*args, **settings):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    for name in ("nowhere", "nobody/nothing", "./not/a/folder"):
        with pytest.raises(ModelFileError, match=name):
            TextEncoder(name)


def test_a_damaged_or_incomplete_model_gives_one_clear_error(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    dropped = next(name for name in tensors if "layer.1.output.dense.weight" in name)
    save_file({name: t for name, t in tensors.items() if name != dropped}, weights, {"format": "pt"})
    with pytest.raises(ModelFileError, match=r"layer\.1\.output\.dense\.weight"):
        TextEncoder(tmp_path)
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(ModelFileError, match=tmp_path.name):
        TextEncoder(tmp_path)
    weights.unlink()
    with pytest.raises(ModelFileError, match=tmp_path.name):
        TextEncoder(tmp_path)


@pytest.mark.parametrize("message", ["CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory"])
def test_out_of_memory_names_the_batch(encoder, monkeypatch, message):
    def full(self, **inputs):
        raise RuntimeError(message)

    monkeypatch.setattr(BertModel, "forward", full)
    with pytest.raises(OutOfMemoryError, match="batch_tokens=1"):
        encoder.encode(["red", "blue"])
    monkeypatch.setattr(BertModel, "forward", lambda self, **inputs: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent"):
        encoder.encode(["red"])


# ---- pooling and isotropy ----


def test_pooling_by_hand():
    states = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(states, mask).tolist() == [[2, -3]]
    assert pool(states, mask, "max").tolist() == [[3, -2]]
    assert pool(states, mask, "cls").tolist() == [[1, -4]]
    assert pool(states)[0].tolist() == pytest.approx([13 / 3, 1])
    assert pool(states, how="max").tolist() == [[9, 9]]
    with pytest.raises(SettingError):
        pool(states, torch.zeros(1, 3))


def test_mean_cosine_is_the_mean_over_all_pairs():
    vectors = np.random.default_rng(0).normal(0.3, 1, (30, 5))
    pairs = cosine_similarity(vectors)[np.triu_indices(30, 1)]
    assert mean_cosine(vectors) == pytest.approx(pairs.mean())
    vectors[3] = 0
    assert mean_cosine(vectors) == pytest.approx(cosine_similarity(vectors)[np.triu_indices(30, 1)].mean())
    with pytest.raises(SettingError, match="1"):
        mean_cosine(vectors[:1])


@pytest.fixture
def cone():
    """Vectors that all point one way: a large mean, one strong direction."""
    rng = np.random.default_rng(1)
    return rng.normal(0, 1, (200, 6)) * [5, 1, 1, 1, 0.5, 0.2] + 3


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("keep", [None, 3])
def test_whitening_equals_scikit_learns(cone, keep):
    theirs = unit(PCA(keep, whiten=True).fit_transform(cone))
    ours = Whitening(keep=keep).fit(cone).transform(cone)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)
    assert ours.shape == (200, keep or 6)
    assert ours.dtype == np.float32


def test_all_but_the_top_by_the_formula_of_the_paper(cone):
    new = np.random.default_rng(2).normal(3, 1, (10, 6))
    model = Whitening(drop=2, scale=False).fit(cone)
    top = PCA(2).fit(cone).components_
    for vectors in (cone, new):
        centered = vectors - cone.mean(0)
        expected = unit(centered - centered @ top.T @ top)
        ours = model.transform(vectors)
        np.testing.assert_allclose(ours @ ours.T, expected @ expected.T, atol=1e-5)
    assert abs(mean_cosine(model.transform(cone))) < 0.02 < 0.5 < mean_cosine(cone)


def test_whitening_leaves_out_directions_without_variance():
    flat = np.random.default_rng(3).normal(size=(4, 10))  # four texts span three directions
    assert Whitening().fit(flat).transform(flat).shape == (4, 3)
    assert np.isfinite(Whitening().fit(flat).transform(flat)).all()
    assert Whitening(drop=1, scale=False).fit(flat).transform(flat).shape == (4, 9)


def test_whitening_says_what_is_wrong(cone):
    with pytest.raises(SettingError, match="drop=-1"):
        Whitening(drop=-1)
    with pytest.raises(SettingError, match="keep=0"):
        Whitening(keep=0)
    with pytest.raises(SettingError, match="drop=6"):
        Whitening(drop=6).fit(cone)
    with pytest.raises(SettingError, match="1"):
        Whitening().fit(cone[:1])


# ---- the real model ----


@pytest.mark.data
def test_minilm_equals_plain_transformers_and_knows_what_is_like_what(tmp_path):
    from llmrec_lite import assets

    encoder = TextEncoder(device="cpu", cache=tmp_path)
    texts = [
        "A spaceship fights aliens.",
        "Star Wars (1977). Action, Sci-Fi.",
        "A tender love story.",
        "word " * 400,
        "a",
    ]
    vectors = encoder.encode(texts)
    assert vectors.shape == (5, 384)
    np.testing.assert_allclose(vectors, plain(assets.locate("minilm"), texts, max_length=256), atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1
    assert encoder.unknown_share(["I would like some science fiction", "我想看一部科幻电影"])[0] == 0
    assert encoder.unknown_share(["我想看一部科幻电影"])[0] > 0.5
