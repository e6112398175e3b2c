"""A table that reads like its teacher, its file, and soft labels."""

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from llmrec_lite import assets
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.meta.distill import StaticEncoder, WordPieceTokenizer, mean_predictions

WORDS = ["red", "blue", "dress", "shirt", "warm", "cold", "film", "space"]


def words(texts):
    return [text.split() for text in texts]


class Teacher:
    """A bag of words with a hidden table, and some of what no table can know."""

    def __init__(self, noise=0.0):
        self.table, self.noise = np.random.default_rng(0).normal(size=(len(WORDS), 6)), noise

    def encode(self, texts):
        rng = np.random.default_rng(1)
        rows = [self.table[[WORDS.index(w) for w in text.split() if w in WORDS]].mean(0) for text in texts]
        return np.stack(rows) + self.noise * rng.normal(size=(len(rows), 6))


@pytest.fixture
def texts():
    rng = np.random.default_rng(2)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 6))) for _ in range(200)]


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_a_table_that_is_possible_is_found(texts):
    student = StaticEncoder(6, l2=1e-3).distill(Teacher(), words, texts)
    vectors = student.encode(texts)
    assert vectors.shape == (200, 6)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    # Directions may be turned, angles may not; the rest is rounding to eight bits.
    np.testing.assert_allclose(cosines(vectors), cosines(Teacher().encode(texts)), atol=0.03)


def test_texts_correct_what_words_alone_say(texts):
    class Fooled(Teacher):
        """One that does not know single words."""

        def encode(self, texts):
            right = super().encode(texts)
            return np.stack(
                [row if " " in text else row * (np.arange(6) < 2) for row, text in zip(right, texts, strict=True)]
            )

    long = [text for text in texts if " " in text]
    target = cosines(Teacher().encode(long))
    off = [
        np.abs(cosines(StaticEncoder(6, l2=l2).distill(Fooled(), words, long).encode(long)) - target).mean()
        for l2 in (1e-2, 1e9)
    ]
    assert off[0] < 0.3 * off[1]


def test_it_is_the_ridge_of_equation_15_6(texts):
    teacher = Teacher(0.3)
    student = StaticEncoder(6, l2=2.0, seed=0).distill(teacher, words, texts)
    order = list(student.vocabulary_)
    x = np.array([[text.split().count(w) / len(text.split()) for w in order] for text in texts])
    goal, alone = teacher.encode(texts), teacher.encode(order)
    # The whole space is kept, so that the directions are a rotation; distances of rows are free of it.
    table = alone + Ridge(2.0, fit_intercept=False).fit(x, goal - x @ alone).coef_.T
    made = student.table_ * student.steps_[:, None]
    np.testing.assert_allclose(made @ made.T, table @ table.T, atol=0.08)


def test_rare_tokens_are_left_out_and_unknown_ones_ignored(texts):
    texts = [*texts, "film film film unusual"]
    teacher = Teacher()
    teacher.table = np.vstack([teacher.table, np.ones(6)])
    WORDS.append("unusual")
    try:
        student = StaticEncoder(4, max_vocab=8).distill(teacher, words, texts)
    finally:
        WORDS.remove("unusual")
    assert "unusual" not in student.vocabulary_
    np.testing.assert_array_equal(student.encode(["red unusual dress"]), student.encode(["red dress"]))
    assert not student.encode(["nobody knows", ""]).any()


def test_saved_and_read_and_damaged(tmp_path, texts):
    student = StaticEncoder(5).distill(Teacher(0.1), words, texts)
    file = tmp_path / "deep" / "table.safetensors"
    student.save(file)
    assert [p.name for p in file.parent.iterdir()] == ["table.safetensors"]
    again = StaticEncoder.load(file, words)
    np.testing.assert_array_equal(again.encode(texts), student.encode(texts))
    assert again.size == student.size
    assert abs(file.stat().st_size - student.size) < 1000
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ModelFileError, match="table"):
        StaticEncoder.load(file, words)
    with pytest.raises(ModelFileError, match="table"):
        StaticEncoder.load(tmp_path / "nothing", words)


def test_another_format_is_refused(tmp_path, texts, monkeypatch):
    from llmrec_lite.meta import distill

    student = StaticEncoder(5).distill(Teacher(), words, texts)
    monkeypatch.setattr(distill, "FORMAT", 99)
    student.save(tmp_path / "new")
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="99"):
        StaticEncoder.load(tmp_path / "new", words)


def test_a_failed_write_leaves_what_was_there(tmp_path, texts, monkeypatch):
    from llmrec_lite.meta import distill

    student = StaticEncoder(5).distill(Teacher(), words, texts)
    student.save(tmp_path / "table")
    before = (tmp_path / "table").read_bytes()

    def broken(*args, **options):
        raise OSError("disk full")

    monkeypatch.setattr(distill, "save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        student.save(tmp_path / "table")
    assert (tmp_path / "table").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_size_counts_a_byte_an_entry(texts):
    student = StaticEncoder(5).distill(Teacher(), words, texts)
    assert student.size == 8 * 5 + 4 * 8 + len(json.dumps(list(student.vocabulary_)))


@pytest.mark.parametrize("options", [{"dim": 0}, {"max_vocab": 0}, {"l2": 0}])
def test_bad_settings(options):
    with pytest.raises(SettingError, match=next(iter(options))):
        StaticEncoder(**options)


def test_nothing_to_learn_from():
    with pytest.raises(SettingError):
        StaticEncoder().distill(Teacher(), words, ["", " "])


def test_means_of_predictions():
    class Says:
        def __init__(self, value):
            self.value = value

        def predict(self, x):
            return np.full((len(x), 2), self.value)

    np.testing.assert_allclose(mean_predictions([Says(1), Says(2)], np.zeros((3, 4))), np.full((3, 2), 1.5))
    with pytest.raises(SettingError):
        mean_predictions([], np.zeros((3, 4)))


@pytest.mark.data
def test_the_pieces_that_minilm_reads():
    pieces = WordPieceTokenizer(assets.locate("minilm") / "tokenizer.json")
    assert pieces(["Uncomfortably WARM dress", "生 film"])[0][-2:] == ["warm", "dress"]
    assert pieces(["Uncomfortably"])[0][0] == "uncomfortably"[: len(pieces(["Uncomfortably"])[0][0])]
    assert "[CLS]" not in pieces(["dress"])[0]
    assert len(pieces(["dress " * 1000])[0]) == 1000  # nothing is cut
