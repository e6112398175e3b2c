"""Chapter 19: LLMA, the system of the five articles in one class: fit, adapt, recommend, explain, save."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Self, cast

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm.auto import tqdm

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History, top_k_unseen
from llmrec_lite.knowledge.graph import genre_facts
from llmrec_lite.knowledge.sessions import SessionAutoencoder
from llmrec_lite.language.text_recommender import Encoder, TextRecommender, encode_described
from llmrec_lite.llma.cold_start import COLD_USER_MAX, ColdStartFusion
from llmrec_lite.llma.config import PARTS, ItemKnowledge, LLMAConfig, truncated_svd
from llmrec_lite.llma.explain import reasons
from llmrec_lite.llma.fusion import FusedRecommender
from llmrec_lite.llma.requests import is_near, request_scores
from llmrec_lite.recommenders.base import BaseRecommender, FoldInRecommender, histories_to_matrix
from llmrec_lite.recommenders.content import unit_rows

# Why a part is not made.
WITHOUT = {"text": "there are no texts, or neither a language model nor facts to read them with"}
WARM_HISTORY_MIN = 40  # a new user with more items is scored as a user of the data


class LLMA(BaseRecommender):
    """Hybrid recommender: a language model, collaborative filtering and facts, fused, with cold start and requests.

    The training stage encodes texts and facts. The parts (`PARTS`: ALS; an autoencoder whose rows are users, sessions
    and facts; a ridge on embeddings of texts and facts) learn from the interactions. Their weights are learned inside
    the data (`FusedRecommender`), and others for users with few interactions (`ColdStartFusion`); items without
    interactions are ordered by the part "text" alone. In the prediction stage every part scores every item, the fused
    scores propose candidates, these are re-ranked for relevance and diversity, and each can be explained.

    Args:
        config: settings; the defaults where None.
        facts: (n_items, n_facts) as of `fact_matrix`; the catalog's genres where None.
        encoder: reads texts in place of the configuration's; a saved model needs it again (`load`).

    Fitting MovieLens 100K takes less than a minute and 1.6 GB on two cores, once the texts are encoded. The experiment
    `llma_growth` measures how time and memory grow. Memory grows with the square of the items up to
    `largest_autoencoder`; beyond, the autoencoder is of a low rank, and time and memory grow with the items. Where
    users times items are more than `MAX_DENSE_CELLS`, attention is over some of the users. `limits` and `repr` say what
    a model does without. Scores of one user are on one scale; those of two users need not be.
    """

    _own_encoder: Encoder | None = None  # of the configuration, loaded when a text is to be read
    _lacks_encoder = False

    def __init__(
        self,
        config: LLMAConfig | None = None,
        facts: sparse.csr_array | None = None,
        encoder: Encoder | None = None,
        progress: bool = False,
    ) -> None:
        self.config, self.facts, self.encoder, self.progress = config, facts, encoder, progress

    # ---- training stage ----

    def _fit(self, train: Dataset) -> None:
        config = self.config_
        with tqdm(total=3, desc="encoding", disable=not self.progress) as stages:
            self.encode_items(train)
            stages.update()
            stages.set_description("weights of the parts")
            self.fused_ = self.make_fusion(self.make_parts(train)).fit(train)
            stages.update()
            stages.set_description("cold start")
            self.cold_start_ = ColdStartFusion(config.order, config.max_users, config.seed).fit(
                train,
                lambda some: {name: part.fit(some) for name, part in self.make_parts(train).items()},
                self.knowledge_.text_vectors,
            )
            stages.update()
        self._prepare(train)

    @property
    def config_(self) -> LLMAConfig:
        """The settings, which are the defaults where none are named."""
        return LLMAConfig() if self.config is None else self.config

    def encode_items(self, train: Dataset) -> Self:
        """Encode the texts and facts of the catalog, the first step of `fit`."""
        texts = train.items["text"].fillna("").tolist()
        can_read = self.encoder is not None or self.config_.encoder is not None
        vectors = None
        if any(text.strip() for text in texts) and can_read and "text" in self.config_.parts:
            vectors = encode_described(self._encoder(), texts).astype(np.float32)
        facts = genre_facts(train) if self.facts is None else sparse.csr_array(self.facts)
        if facts.shape[0] != train.n_items:
            raise SettingError(f"there are facts for {facts.shape[0]} items, but the data have {train.n_items}")
        fact_vectors = truncated_svd(facts, self.config_.fact_dimensions)
        self.knowledge_ = ItemKnowledge(vectors, facts, fact_vectors, self._encoder)
        return self

    def _encoder(self) -> Encoder:
        if self.encoder is not None:
            return self.encoder
        if self._lacks_encoder:
            raise SettingError("this model was fitted with an encoder of yours: LLMA.load(path, encoder=...) takes it")
        if self._own_encoder is None:
            from llmrec_lite.language.encoder import TextEncoder  # transformers, which a saved model may spare

            if self.config_.encoder is None:
                raise SettingError("this model was fitted without a language model; set config.encoder and fit again")
            self._own_encoder = TextEncoder(self.config_.encoder)
        return self._own_encoder

    def make_parts(self, train: Dataset) -> dict[str, FoldInRecommender]:
        """Parts that the data and the settings allow, not fitted yet, once the items are encoded."""
        made = {name: PARTS[name].make(self.config_, train, self.knowledge_) for name in self.config_.parts}
        parts = {name: part for name, part in made.items() if part is not None}
        if not parts:
            raise SettingError(
                f"none of the parts {self.config_.parts} can be made: there are no texts or facts, or too many items"
            )
        return parts

    def limits(self) -> list[str]:
        """What the data or the settings did not allow, a sentence each."""
        config, train = self.config_, self._fitted()
        found = [f"no part {name}, as {WITHOUT[name]}" for name in config.parts if name not in self.parts_]
        autoencoder = self.parts_.get("autoencoder")
        if isinstance(autoencoder, SessionAutoencoder):
            found += autoencoder.limits()
        if autoencoder is not None and train.n_items > config.largest_autoencoder:
            found.append(
                f"an autoencoder of rank {config.autoencoder_rank}, as there are more than "
                f"{config.largest_autoencoder:,} items (largest_autoencoder)"
            )
        return found + self.cold_start_.limits()

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        found = [] if self.train_ is None else self.limits()
        return super().__repr__(N_CHAR_MAX) + (f" ({'; '.join(found)})" if found else "")

    def make_fusion(self, parts: dict[str, FoldInRecommender]) -> FusedRecommender:
        """Fusion of the parts, not fitted yet."""
        cold_item_model = "text" if "text" in parts else None
        config = self.config_
        return FusedRecommender(
            parts, cold_item_model=cold_item_model, draws=config.draws, max_users=config.max_users, seed=config.seed
        )

    def _prepare(self, train: Dataset) -> None:
        """Compute what the prediction stage asks for again and again."""
        self.parts_ = cast(dict[str, FoldInRecommender], self.fused_.parts_)
        self.matrix_ = train.matrix()
        self.n_interactions_ = np.bincount(self.matrix_.indices, minlength=train.n_items)
        self.labels_ = train.labels().tolist()
        known = [self.knowledge_.fact_vectors]
        if self.knowledge_.text_vectors is not None:
            known.append(self.knowledge_.text_vectors)
        self.item_vectors_ = unit_rows(np.hstack([unit_rows(vectors) for vectors in known])).astype(np.float32)

    # ---- prediction stage ----

    def _score(self, users: np.ndarray) -> np.ndarray:
        scores = self.fused_.score_indices(users)
        cold = np.flatnonzero(np.diff(self.matrix_.indptr)[users] < COLD_USER_MAX)
        if len(cold):
            scores[cold] = self.cold_start_.score_matrix(self.matrix_[users[cold]], self.parts_, users[cold])
        return scores

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Scores of all items for users who were not in train, (len(histories), n_items) float32; nothing is trained.

        A history is empty where nothing is known.

        Raises:
            UnknownIdError: an item that is not in the catalog.
        """
        support = histories_to_matrix(histories, self._fitted())
        warm = np.diff(support.indptr) > WARM_HISTORY_MIN
        scores = np.empty(support.shape, np.float32)
        scores[~warm] = self.cold_start_.score_matrix(support[~warm], self.parts_)
        if warm.any():
            scores[warm] = self.fused_.score_new([histories[int(row)] for row in np.flatnonzero(warm)])
        return scores

    def score_items(self, texts: Sequence[str]) -> np.ndarray:
        """Scores of new items for all users, by the items' texts, (n_users, len(texts)) float32."""
        self._fitted()
        part = self.parts_.get("text")
        if not isinstance(part, TextRecommender):
            raise SettingError("this model was fitted without texts, so it cannot score items by theirs")
        return part.score_items(texts)

    def score_request(self, text: str) -> np.ndarray:
        """Scores of all items by the cosine of their texts with a request in words, (n_items,) float32."""
        self._fitted()
        if not text.strip():
            raise SettingError("the request is empty; say in a few words what you would like")
        if self.knowledge_.text_vectors is None:
            raise SettingError("this model was fitted without texts, so it cannot answer a request in words")
        return (self.knowledge_.text_vectors @ self.knowledge_.read([text])[0]).astype(np.float32)

    def recommend(self, user_ids: Iterable[Hashable], k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """Lists of k items for users given by their raw ids, re-ranked for relevance and diversity.

        Returns:
            Columns user_id, item_id, rank (from 1), score; fewer than k rows of a user where candidates run out.

        Raises:
            UnknownIdError: a user who is not in the training data.
        """
        users = self._fitted().users_to_index(user_ids)
        scores = self.score_indices(users)
        items = self._reranked(scores, self.matrix_[users] if exclude_seen else None, k)
        return self._lists(users, items, np.take_along_axis(scores, np.maximum(items, 0), 1))

    def recommend_for(
        self,
        user_id: Hashable | None = None,
        history: History | None = None,
        request: str | None = None,
        k: int = 10,
    ) -> pd.DataFrame:
        """A list of k unseen items with reasons, for a user, or a history, or a request, or a request of one of these.

        Args:
            user_id: a user of the data.
            history: of a new user; see `score_new`.
            request: what is wanted, in words.
            k: length of the list.

        Returns:
            Columns item_id, rank (from 1), item, score and reason, best first; fewer than k rows where candidates run
            out.

        Raises:
            UnknownIdError: a user or an item that is not in the data.
        """
        train = self._fitted()
        if user_id is not None and history is not None:
            raise SettingError("give a user of the data or a history, not both")
        if user_id is None and history is None and request is None:
            raise SettingError("say for whom: a user, a history, or a request in words")
        if user_id is not None:
            index = train.users_to_index([user_id])
            seen, personal = self.matrix_[index], self.score_indices(index)
            cold = seen.nnz < COLD_USER_MAX
        else:
            seen, personal = histories_to_matrix([history or ()], train), self.score_new([history or ()])
            cold = seen.nnz <= WARM_HISTORY_MIN
        scores, near = personal, np.zeros(train.n_items, bool)
        if request is not None:
            config, wish, unseen = self.config_, self.score_request(request), seen.toarray()[0] == 0
            scores = request_scores(wish, personal[0], config.request_share, config.request_items, unseen)[None]
            near = is_near(wish)
        best = self._reranked(scores, seen, k)[0]
        best = best[best >= 0]
        return pd.DataFrame(
            {
                "item_id": train.items["item_id"].to_numpy()[best],
                "rank": np.arange(1, len(best) + 1),
                "item": [self.labels_[item] for item in best],
                "score": scores[0, best],
                "reason": reasons(self, best, seen.indices, request, near[best], cold),
            }
        )

    def _reranked(self, scores: np.ndarray, seen: sparse.csr_array | None, k: int) -> np.ndarray:
        """Return item indices, (n, k), chosen among each row's best candidates; -1 where they run out."""
        if k < 1:
            raise SettingError(f"k must be at least 1, not {k}")
        k = min(k, scores.shape[1])
        candidates = top_k_unseen(scores, seen, max(self.config_.candidates, k))[0]
        found = np.full((len(scores), k), -1)
        for row, items in enumerate(candidates):
            items = items[items >= 0]
            vectors = self.item_vectors_[items]
            chosen = items[rerank(scores[row, items], vectors @ vectors.T, self.config_.diversity, k)]
            found[row, : len(chosen)] = chosen
        return found

    # ---- on disk ----

    def save(self, path: str | Path) -> Path:
        """Write the model into a folder, safetensors and JSON, whole or not at all; see `llma.storage`."""
        from llmrec_lite.llma.storage import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, encoder: Encoder | None = None) -> LLMA:
        """Read a model that `save` has written.

        Args:
            path: of the folder.
            encoder: where the model was fitted with one, which is not saved.

        Raises:
            ModelFileError: no model, another version, or files that are not what was written.
        """
        from llmrec_lite.llma.storage import load

        return load(cls, Path(path), encoder)


def rerank(scores: np.ndarray, similarity: np.ndarray, diversity: float, k: int) -> np.ndarray:
    """Maximal marginal relevance, equation (19.2), with relevance scaled to 0 to 1.

    Carbonell and Goldstein, SIGIR 1998: candidates are taken one by one, those similar to one taken already later.

    Args:
        scores: (n,) of the candidates, finite.
        similarity: (n, n) cosines between them; negative ones count as 0.
        diversity: from 0, relevance alone, to 1, dissimilarity alone.
        k: how many are taken.

    Returns:
        (k,) positions among the candidates, fewer where they run out.
    """
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 0.0)
    # Scores that differ by no more than rounding are equal, as in `normalize_scores`.
    flat = high - low <= 1e-6 * max(abs(low), abs(high))
    relevance = np.zeros(len(scores)) if flat else (scores - low) / (high - low)
    nearest = np.zeros(len(scores))
    taken: list[int] = []
    for _ in range(min(k, len(scores))):
        value = (1 - diversity) * relevance - diversity * nearest
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        nearest = np.maximum(nearest, similarity[:, taken[-1]])
    return np.array(taken, int)
