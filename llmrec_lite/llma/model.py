"""Chapter 19: LLMA, the system of the five articles in one class: fit, adapt, recommend, explain, save."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm.auto import tqdm

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.graph import genre_facts
from llmrec_lite.knowledge.recommend import FactAutoencoder, FactEncoder
from llmrec_lite.language.text_recommender import ConcatEncoder, Encoder
from llmrec_lite.llma.cold_start import Newcomers
from llmrec_lite.llma.config import KnownTexts, LLMAConfig, pressed, rerank, scorer
from llmrec_lite.llma.explain import reasons
from llmrec_lite.llma.fusion import FusedRecommender, fuse
from llmrec_lite.recommenders import ALS, TextRecommender
from llmrec_lite.recommenders.base import BaseRecommender, History, Recommender, histories_to_matrix, top_k_unseen
from llmrec_lite.recommenders.content import unit_rows

__all__ = ["LLMA", "LLMAConfig"]

FEW = 10  # who has met fewer items is served as a newcomer
MANY = 40  # a newcomer who has met more is served as everybody else


class LLMA(BaseRecommender):
    """A language model, collaborative filtering and facts, fused; new people by their first choices, requests in words.

    The training stage turns texts into vectors and presses facts into a few numbers. Three parts learn from the choices
    ("factors": ALS; "autoencoder", with facts; "text": a ridge on vectors of texts and facts). Their weights are
    learned inside the data (`FusedRecommender`), and others for people of whom little is known (`Newcomers`); items
    that nobody has met are put in order by the part "text" alone. In the prediction stage every part scores every item,
    the fused scores propose candidates, these are re-ranked for relevance and diversity, and each comes with a reason.

    Args:
        config: settings; the defaults where None.
        facts: (n_items, n_facts) as of `fact_matrix`; the catalog's genres where None.
        encoder: reads texts in place of the configuration's.
        progress: show a progress bar.

    Fitting MovieLens 100K takes less than a minute and 1.6 GB on two cores, once the texts are read. Made-up data
    without texts, up to a million interactions, take one to three minutes and up to 1.5 GB (the experiment
    `llma_growth`): ten times the interactions take about twice the time, ten times the users not quite three times.
    Memory grows with the square of the items up to `largest_autoencoder`; beyond, the factors are the only such part,
    and time and memory grow with the items. Where users times items are more than `llma_newcomers.CELLS`, newcomers do
    without the people who chose alike. Scores of one user are on one scale; those of two users need not be.
    """

    def __init__(
        self,
        config: LLMAConfig | None = None,
        facts: sparse.csr_array | None = None,
        encoder: Encoder | None = None,
        progress: bool = False,
    ) -> None:
        self.config = LLMAConfig() if config is None else config
        self.facts, self.encoder, self.progress = facts, encoder, progress

    # ---- training stage ----

    def _fit(self, train: Dataset) -> None:
        config = self.config
        with tqdm(total=3, desc="reading", disable=not self.progress) as stages:
            self._describe(train)
            stages.update()
            stages.set_description("weighing the parts")
            self.fused_ = self._fused(self._parts(train)).fit(train)
            stages.update()
            stages.set_description("learning to serve newcomers")
            self.newcomers_ = Newcomers(config.order, config.people, config.seed).fit(
                train,
                lambda some: {name: scorer(part.fit(some)) for name, part in self._parts(train).items()},
                self.text_vectors_ if self.has_texts_ else None,
            )
            stages.update()
        self._ready(train)

    def _describe(self, train: Dataset) -> None:
        """Turn texts and facts into vectors, and keep what the parts are made of."""
        texts = train.items["text"].fillna("").tolist()
        told = np.array([bool(text.strip()) for text in texts])
        can_read = self.encoder is not None or self.config.encoder is not None
        self.has_texts_ = bool(told.any()) and can_read and "text" in self.config.parts
        self.text_vectors_ = np.zeros((train.n_items, 1), np.float32)
        if self.has_texts_:
            some = np.asarray(self._encoder().encode([text for text in texts if text.strip()]))
            self.text_vectors_ = np.zeros((train.n_items, some.shape[1]), np.float32)
            self.text_vectors_[told] = some
        facts = genre_facts(train) if self.facts is None else sparse.csr_array(self.facts)
        if facts.shape[0] != train.n_items:
            raise SettingError(f"there are facts for {facts.shape[0]} items, but the data have {train.n_items}")
        self.fact_matrix_ = facts
        self.fact_vectors_ = pressed(facts, self.config.fact_dimensions)

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            from llmrec_lite.language.encoder import TextEncoder  # transformers, which a saved model may spare

            if self.config.encoder is None:
                raise SettingError(
                    "this model was fitted without a language model, so it cannot read; set config.encoder"
                )
            self.encoder = TextEncoder(self.config.encoder)
        return self.encoder

    def _parts(self, train: Dataset) -> dict[str, Recommender]:
        config = self.config
        parts: dict[str, Recommender] = {}
        if "factors" in config.parts:
            parts["factors"] = ALS(config.factors, config.alpha, config.factors_l2, seed=config.seed)
        if "autoencoder" in config.parts and train.n_items <= config.largest_autoencoder:
            parts["autoencoder"] = FactAutoencoder(
                self.fact_matrix_, config.fact_weight, config.dropout, config.autoencoder_l2
            )
        if "text" in config.parts and (self.has_texts_ or self._has_facts(train)):
            parts["text"] = TextRecommender(self._catalogue_encoder(train), l2=config.text_l2)
        if not parts:
            raise SettingError(f"none of {config.parts} can be made: there are no texts or facts, or too many items")
        return parts

    def _fused(self, parts: dict[str, Recommender]) -> FusedRecommender:
        unmet_by = "text" if "text" in parts else None
        return FusedRecommender(parts, unmet_by=unmet_by, people=self.config.people, seed=self.config.seed)

    def _has_facts(self, train: Dataset) -> bool:
        """Tell whether the part "text" has facts to go by where no text is read: they are found by the items' texts."""
        return bool(self.fact_vectors_.any() and (train.items["text"] != "").any())

    def _catalogue_encoder(self, train: Dataset) -> Encoder:
        """Return an encoder that knows the catalogue's texts and facts, and reads other texts when they come."""
        texts = train.items["text"].fillna("").tolist()
        known = KnownTexts(texts, self.text_vectors_, self._encoder)
        return ConcatEncoder([known, FactEncoder(sparse.csr_array(self.fact_vectors_), texts)])

    def _ready(self, train: Dataset) -> None:
        """Prepare what the prediction stage asks for again and again."""
        self.matrix_ = train.matrix()
        self.met_by_ = np.bincount(self.matrix_.indices, minlength=train.n_items)
        self.labels_ = train.labels().tolist()
        described = np.hstack([unit_rows(self.text_vectors_), unit_rows(self.fact_vectors_)])
        self.alike_ = unit_rows(described).astype(np.float32)
        self.scorers_ = {name: scorer(part) for name, part in self.fused_.parts_.items()}

    # ---- prediction stage ----

    def _score(self, users: np.ndarray) -> np.ndarray:
        scores = self.fused_.score(users)
        few = np.flatnonzero(np.diff(self.matrix_.indptr)[users] < FEW)
        if len(few):
            scores[few] = self.newcomers_.score(self.matrix_[users[few]], self.scorers_, users[few])
        return scores

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for people who were not in train, (len(histories), n_items) float32.

        Raises:
            UnknownIdError: an item that is not in the catalogue.
        """
        given = histories_to_matrix(histories, self._fitted())
        many = np.diff(given.indptr) > MANY
        scores = np.empty(given.shape, np.float32)
        scores[~many] = self.newcomers_.score(given[~many], self.scorers_)
        if many.any():
            scores[many] = self.fused_.score_new([histories[int(row)] for row in np.flatnonzero(many)])
        return scores

    def adapt(self, history: History) -> np.ndarray:
        """Score all items for one person from a handful of choices, (n_items,) float32; nothing is trained.

        Args:
            history: (item id, rating[, timestamp]) of each item met; empty for somebody of whom nothing is known.

        Raises:
            UnknownIdError: an item that is not in the catalogue.
        """
        return self.score_new([history])[0]

    def score_items(self, texts: Sequence[str]) -> np.ndarray:
        """Score items that were not in the catalogue, by their texts, for all users, (n_users, len(texts)) float32.

        Raises:
            ValueError: the model was fitted without texts.
        """
        self._fitted()
        if "text" not in self.fused_.parts_:
            raise SettingError("this model was fitted without texts, so it cannot score items by theirs")
        return self.fused_.parts_["text"].score_items(texts)  # type: ignore[attr-defined]

    def score_request(self, text: str) -> np.ndarray:
        """Score all items by how near their texts are to a request in words, (n_items,) float32.

        Raises:
            ValueError: the request is empty, or the model was fitted without texts.
        """
        self._fitted()
        if not text.strip():
            raise SettingError("the request is empty; say in a few words what you would like")
        if not self.has_texts_:
            raise SettingError("this model was fitted without texts, so it cannot answer a request in words")
        return (self.text_vectors_ @ np.asarray(self._encoder().encode([text]))[0]).astype(np.float32)

    def recommend(  # type: ignore[override]
        self,
        user: Hashable | None = None,
        history: History | None = None,
        request: str | None = None,
        k: int = 10,
    ) -> pd.DataFrame:
        """Recommend to a user of the data, or to somebody with a history, or by a request, or by two of these.

        Args:
            user: a raw user id.
            history: see `adapt`.
            request: a wish in words.
            k: how many items; none that was met before.

        Returns:
            Columns item_id, rank (from 1), item, score and reason, best first; fewer than k rows where candidates run
            out.

        Raises:
            ValueError: nobody and no request, or both a user and a history; or see `score_request`.
            UnknownIdError: a user or an item that is not in the data.
        """
        train = self._fitted()
        if user is not None and history is not None:
            raise SettingError("give a user of the data or a history, not both")
        if user is None and history is None and request is None:
            raise SettingError("say for whom: a user, a history, or a request in words")
        if k < 1:
            raise SettingError(f"k must be at least 1, not {k}")
        if user is not None:
            index = train.users_to_index([user])
            met, personal = self.matrix_[index], self.score(index)[0]
            newcomer = met.nnz < FEW
        else:
            met = histories_to_matrix([history or ()], train)
            personal, newcomer = self.adapt(history or ()), met.nnz <= MANY
        scores, wished = personal, np.zeros_like(personal)
        if request is not None:
            share = self.config.request_share
            wished = fuse({"request": self.score_request(request)}, {"request": share})
            scores = wished + fuse({"person": personal}, {"person": 1 - share})
        best = self._reranked(scores, met, k)
        return pd.DataFrame(
            {
                "item_id": train.items["item_id"].to_numpy()[best],
                "rank": np.arange(1, len(best) + 1),
                "item": [self.labels_[item] for item in best],
                "score": scores[best],
                "reason": reasons(self, best, met.indices, request, wished[best], newcomer),
            }
        )

    def _reranked(self, scores: np.ndarray, seen: sparse.csr_array, k: int) -> np.ndarray:
        """Return the indices of a list of k, chosen among the best candidates for relevance and diversity."""
        items = top_k_unseen(scores[None], seen, max(self.config.candidates, k))[0][0]
        items = items[items >= 0]
        alike = self.alike_[items] @ self.alike_[items].T
        return items[rerank(scores[items], alike, self.config.diversity, k)]

    # ---- on disk ----

    def save(self, path: str | Path) -> Path:
        """Write the model into a folder, safetensors and JSON, whole or not at all; see `llma_files`."""
        from llmrec_lite.llma.storage import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> LLMA:
        """Read a model that `save` has written.

        Raises:
            ModelFileError: no model, another version, or files that are not what was written.
        """
        from llmrec_lite.llma.storage import load

        return load(cls, Path(path))
