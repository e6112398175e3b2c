"""Chapter 6: n-gram language models.

A sentence is a string, which `text.tokenize` splits into words, or a sequence of any tokens: films will do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Self

import numpy as np
from sklearn.exceptions import NotFittedError

from llmrec_lite.errors import SettingError
from llmrec_lite.stats import bootstrap_interval
from llmrec_lite.text import tokenize

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
Sentence = str | Sequence[Hashable]
Context = tuple[int, ...]
Counts = dict[Context, dict[int, float]]  # what followed each context, and how often


class NgramModel(ABC):
    """N-gram language model: a vocabulary, contexts of at most order - 1 words, perplexity.

    Word 0 is the end of a sentence and word 1 stands for every unknown word, seen fewer than `min_count` times.
    The start of a sentence is a context and never predicted. Perplexities compare only between equal vocabularies.
    """

    def __init__(self, order: int, min_count: int = 1) -> None:
        if order < 1 or min_count < 1:
            raise SettingError(f"order and min_count must be at least 1, not {order!r} and {min_count!r}")
        self.order, self.min_count = order, min_count

    def fit(self, sentences: Iterable[Sentence]) -> Self:
        """Learn the vocabulary and the model; return the model itself."""
        texts = [_words(sentence) for sentence in sentences]
        counts = Counter(word for text in texts for word in text)
        if not counts:
            raise SettingError("there is no word to learn from: every sentence is empty")
        frequent = [word for word, count in counts.items() if count >= self.min_count]
        self.words_: list[Hashable] = [END, UNKNOWN, *(w for w in frequent if w not in (START, END, UNKNOWN))]
        self.index_ = {word: i for i, word in enumerate(self.words_)}
        self._start = len(self.words_)  # the start has a number and no probability
        self._fit([self._encode(text) for text in texts])
        return self

    def probability(self, word: Hashable, context: Sentence = ()) -> float:
        """Probability p(word | context); of the context only the last order - 1 words count."""
        return float(self.distribution(context)[self.index_.get(word, 1)])

    def distribution(self, context: Sentence = ()) -> np.ndarray:
        """Distribution p(word | context) over `words_`, (n_words,); a short context is the beginning of a sentence."""
        ids = self._encode(_words(self._fitted(context)))[:-1]
        return self._distribution(tuple(ids[-(self.order - 1) :]) if self.order > 1 else ())

    def log_probability(self, sentence: Sentence) -> np.ndarray:
        """Ln p of every word of the sentence and of its end, (words + 1,)."""
        return self._log_probabilities([self._encode(_words(self._fitted(sentence)))])

    def perplexity(self, sentences: Iterable[Sentence]) -> float:
        """Perplexity: exp of the mean of -ln p over all words and sentence ends, equation (6.4)."""
        texts = [self._encode(_words(self._fitted(sentence))) for sentence in sentences]
        if not texts:
            raise SettingError("perplexity needs at least one sentence")
        with np.errstate(over="ignore"):
            return float(np.exp(-self._log_probabilities(texts).mean()))

    def generate(self, seed: int, prompt: Sentence = (), max_words: int = 30) -> list[Hashable]:
        """Sampled continuation of `prompt` until the sentence ends, without unknown words."""
        rng, words = np.random.default_rng(seed), list(_words(self._fitted(prompt)))
        for _ in range(max_words):
            p = self.distribution(words)
            p[1] = 0.0
            drawn = int(rng.choice(len(p), p=p / p.sum()))
            if drawn == 0:
                break
            words.append(self.words_[drawn])
        return words

    @abstractmethod
    def _fit(self, texts: list[list[int]]) -> None:
        """Learn from texts, each [start, words..., end] as numbers."""

    @abstractmethod
    def _distribution(self, context: Context) -> np.ndarray:
        """Probabilities after a context of at most order - 1 words, float64."""

    def _log_probabilities(self, texts: list[list[int]]) -> np.ndarray:
        p = np.array([self._probability(word, c) for text in texts for c, word in context_pairs(text, self.order)])
        with np.errstate(divide="ignore"):  # k = 0: what was never seen is impossible, its perplexity infinite
            return np.log(p)

    def _probability(self, word: int, context: Context) -> float:
        return float(self._distribution(context)[word])

    def _encode(self, words: Sequence[Hashable]) -> list[int]:
        return [self._start, *(self.index_.get(word, 1) for word in words), 0]

    def _fitted(self, passed: Sentence) -> Sentence:
        if not hasattr(self, "words_"):
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(sentences) first")
        return passed


class AddK(NgramModel):
    """Add-k smoothing, equation (6.2); k = 0 is the maximum of the likelihood."""

    def __init__(self, order: int, k: float = 1.0, min_count: int = 1) -> None:
        super().__init__(order, min_count)
        if k < 0:
            raise SettingError(f"k must not be negative, got {k!r}")
        self.k = k

    def _fit(self, texts: list[list[int]]) -> None:
        self.counts_ = count_ngrams(texts, self.order)
        self._totals = {context: sum(after.values()) for context, after in self.counts_.items()}

    def _probability(self, word: int, context: Context) -> float:
        count = self.counts_.get(context, {}).get(word, 0) + self.k
        total = self._totals.get(context, 0) + self.k * len(self.words_)
        return count / total if total else 1 / len(self.words_)

    def _distribution(self, context: Context) -> np.ndarray:
        return np.array([self._probability(word, context) for word in range(len(self.words_))])


class KneserNey(NgramModel):
    """Interpolated Kneser-Ney smoothing.

    p(w | c) = max(count(c, w) - D, 0) / count(c) + D types(c) / count(c) * p(w | c without its first word),
    equation (6.3). Shorter contexts count in how many different places an n-gram was seen, not how often. The shortest
    context falls back on 1 / n_words. Kneser and Ney, "Improved backing-off for m-gram language modeling", ICASSP
    1995, equations 2 and 7, in the interpolated form of Chen and Goodman, "An empirical study of smoothing techniques
    for language modeling", Computer Speech and Language 13, 1999, section 2.7.

    `discount` is D in (0, 1]; None estimates it for each length as n1 / (n1 + 2 n2), where n1 and n2 are the numbers
    of n-grams with counts 1 and 2.
    """

    def __init__(self, order: int, discount: float | None = None, min_count: int = 1) -> None:
        super().__init__(order, min_count)
        if discount is not None and not 0 < discount <= 1:
            raise SettingError(f"discount must be in (0, 1], not {discount!r}")
        self.discount = discount

    def _fit(self, texts: list[list[int]]) -> None:
        seen: Counts = defaultdict(lambda: defaultdict(int))
        for length in range(1, self.order + 1):
            for context, after in count_ngrams(texts, length).items():
                seen[context].update(after)
        # The longest contexts keep their counts, and so do those at the start of a sentence, which nothing precedes.
        counts: Counts = {c: dict(after) for c, after in seen.items() if len(c) == self.order - 1 or self._start in c}
        for context, after in seen.items():
            if context:
                shorter = counts.setdefault(context[1:], {})
                for word in after:  # one more place in which the shorter n-gram was seen
                    shorter[word] = shorter.get(word, 0) + 1
        self.counts_ = counts
        self.discounts_ = [self._discount(length) for length in range(self.order)]
        self._totals = {context: sum(after.values()) for context, after in counts.items()}

    def _discount(self, length: int) -> float:
        if self.discount is not None:
            return self.discount
        sizes = Counter(n for context, after in self.counts_.items() if len(context) == length for n in after.values())
        # Where no n-gram was seen once, or none twice, the estimate says nothing or everything.
        return sizes[1] / (sizes[1] + 2 * sizes[2]) if sizes[1] and sizes[2] else 0.75

    def _probability(self, word: int, context: Context) -> float:
        p = 1 / len(self.words_)
        for length in range(len(context) + 1):
            suffix = context[len(context) - length :]
            after = self.counts_.get(suffix)
            if after is None:
                break  # a context that was never seen adds nothing, nor does a longer one
            discount, total = self.discounts_[length], self._totals[suffix]
            p = max(after.get(word, 0) - discount, 0) / total + discount * len(after) / total * p
        return p

    def _distribution(self, context: Context) -> np.ndarray:
        p = np.full(len(self.words_), 1 / len(self.words_))
        for length in range(len(context) + 1):
            suffix = context[len(context) - length :]
            after = self.counts_.get(suffix)
            if after is None:
                break
            discount, total = self.discounts_[length], self._totals[suffix]
            p *= discount * len(after) / total
            p[list(after)] += np.maximum(np.fromiter(after.values(), float) - discount, 0) / total
        return p


def count_ngrams(texts: Iterable[Sequence[int]], order: int) -> Counts:
    """Counts of the words after each context of order - 1 words, fewer at the start of a text."""
    counts: Counts = defaultdict(lambda: defaultdict(int))
    for text in texts:
        for context, word in context_pairs(text, order):
            counts[context][word] += 1
    return {context: dict(after) for context, after in counts.items()}


def context_pairs(text: Sequence[int], order: int) -> list[tuple[Context, int]]:
    """Pairs (context of at most order - 1 words, word) for every word after the start."""
    return [(tuple(text[max(0, i - order + 1) : i]), text[i]) for i in range(1, len(text))]


def _words(sentence: Sentence) -> Sequence[Hashable]:
    return tokenize(sentence) if isinstance(sentence, str) else sentence


def perplexity_interval(
    log_probabilities: Sequence[np.ndarray], seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """95% bootstrap interval of the perplexity, over sentences, from what `log_probability` gives for each."""
    sums = np.array([[p.sum(), len(p)] for p in log_probabilities])

    def log_perplexity(counts: np.ndarray) -> np.ndarray:
        drawn = counts @ sums
        return -drawn[:, 0] / drawn[:, 1]

    low, high = np.exp(bootstrap_interval(log_perplexity, len(sums), seed=seed, resamples=resamples))
    return float(low), float(high)
