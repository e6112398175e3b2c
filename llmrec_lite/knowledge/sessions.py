"""Chapter 17: a linear autoencoder whose rows are users, sessions and facts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.linear import DenoisingAutoencoder, WeightedRows

PAUSES = (600.0, 30.0)


def session_index(data: Dataset, pause: float) -> np.ndarray:
    """Session of each interaction, (n_interactions,), numbered from 0.

    A session holds interactions of one user, each at most `pause` seconds after the one before.
    """
    if not (np.isfinite(pause) and pause >= 0):
        raise SettingError(f"a pause must be a finite number of seconds from 0, not {pause!r}")
    order = np.argsort(data.user_index[data.time_order], kind="stable")
    order = data.time_order[order]
    users, times = data.user_index[order], data.interactions["timestamp"].to_numpy()[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (users[1:] != users[:-1]) | (np.diff(times) > pause)
    index = np.empty(len(order), np.int64)
    index[order] = np.cumsum(begins) - 1
    return index


def session_matrix(data: Dataset, pause: float) -> sparse.csr_array:
    """Items of each session, (n_sessions, n_items) float32 of 0 and 1; see `session_index`."""
    cells = np.unique(session_index(data, pause) * np.int64(data.n_items) + data.item_index)
    n_sessions = int(cells[-1] // data.n_items) + 1 if len(cells) else 0
    entries = (np.ones(len(cells), np.float32), np.divmod(cells, data.n_items))
    return sparse.csr_array(entries, shape=(n_sessions, data.n_items))


def user_weights(n_interactions: np.ndarray, exponent: float) -> np.ndarray:
    """Weight of each user, n^-exponent for n interactions, (n_users,); over all interactions the mean is 1.

    With an exponent of 0 all users weigh the same, with 1 all users together an equal share of the interactions.
    """
    counts = np.asarray(n_interactions, float)
    weights = np.maximum(counts, 1.0) ** -exponent
    total = counts @ weights
    return weights * (counts.sum() / total) if total else weights


class SessionAutoencoder(DenoisingAutoencoder):
    """The denoising autoencoder of chapter 3 with weighted users, sessions and facts as rows.

    A row for each user counts what goes together in a lifetime; one for each session, what goes together in one
    sitting; one for each fact, the items that share it (`FactAutoencoder`). With W the users' weights and S_p the
    sessions that a pause of more than p seconds ends, the Gram matrix is

        G = X' W X + session_weight * sum over p of S_p' S_p + fact_weight * F' F

    and B = (G + diag(L))^-1 G as in `DenoisingAutoencoder`. Users are scored by their row of 0 and 1.

    Args:
        facts: (n_items, n_facts) as of `fact_matrix`; None does without.
        pauses: in seconds; for each there is a set of sessions.
        session_weight: of each session's row; 0 does without.
        fact_weight: of each fact's row; 0 does without.
        user_exponent: a user with n interactions weighs n^-user_exponent (`user_weights`).
        dropout: as of `DenoisingAutoencoder`, and `l2`, `rank`.

    Data without times have no sessions; `limits` says so. Time and memory are those of `EASE`.
    """

    def __init__(
        self,
        facts: sparse.csr_array | None = None,
        pauses: Sequence[float] = PAUSES,
        session_weight: float = 1.0,
        fact_weight: float = 141.4,
        user_exponent: float = 0.25,
        dropout: float = 0.6,
        l2: float = 1000.0,
        rank: int | None = None,
    ) -> None:
        super().__init__(dropout, l2, rank)
        for name, weight in (("session_weight", session_weight), ("fact_weight", fact_weight)):
            if not (np.isfinite(weight) and weight >= 0):
                raise SettingError(f"{name} must be a finite number from 0, not {weight!r}")
        if not 0 <= user_exponent <= 1:
            raise SettingError(f"user_exponent must lie between 0 and 1, not {user_exponent!r}")
        if any(not (np.isfinite(pause) and pause >= 0) for pause in pauses):
            raise SettingError(f"pauses must be finite numbers of seconds from 0, not {pauses!r}")
        self.facts, self.pauses, self.session_weight = facts, pauses, session_weight
        self.fact_weight, self.user_exponent = fact_weight, user_exponent

    def weighted_rows(self, train: Dataset) -> WeightedRows:
        """Rows of each kind, (rows, n_items), and what they weigh, for those that the data and the settings allow."""
        if self.facts is not None and self.facts.shape[0] != train.n_items:
            raise SettingError(f"there are facts for {self.facts.shape[0]} items, but the data have {train.n_items}")
        users = train.matrix()
        if self.user_exponent:
            root = np.sqrt(user_weights(np.diff(users.indptr), self.user_exponent))
            users = sparse.csr_array(sparse.diags_array(root) @ users)
        kinds = [(users, 1.0)]
        if self._has_sessions(train):
            kinds += [(session_matrix(train, pause), self.session_weight) for pause in self.pauses]
        if self.facts is not None and self._has_facts():
            kinds.append((self.facts.T.tocsr(), self.fact_weight))
        return kinds

    def _has_sessions(self, train: Dataset) -> bool:
        return bool(self.session_weight and len(self.pauses) and train.has_timestamps)

    def _has_facts(self) -> bool:
        return bool(self.fact_weight and self.facts is not None and self.facts.nnz)

    def row_kinds(self) -> list[str]:
        """Kinds of rows that were fitted: users always, sessions and facts where data and settings have them.

        Raises:
            NotFittedError: before `fit`.
        """
        held = {"users": True, "sessions": self._has_sessions(self._fitted()), "facts": self._has_facts()}
        return [kind for kind, is_held in held.items() if is_held]

    def limits(self) -> list[str]:
        """What the data did not allow, a sentence each."""
        train, found = self._fitted(), []
        if self.session_weight and len(self.pauses) and not train.has_timestamps:
            found.append("no sessions, as the data have no times")
        if self.fact_weight and (self.facts is None or not self.facts.nnz):
            found.append("no facts, as none are given")
        return found

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        shown = super().__repr__(N_CHAR_MAX)
        found = [] if self.train_ is None else self.limits()
        return shown + (f" ({'; '.join(found)})" if found else "")
