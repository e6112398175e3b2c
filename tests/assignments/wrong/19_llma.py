# ruff: noqa
# %% rerank | scores as they are, on no scale
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = scores
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | z-scores in place of a scale from 0 to 1
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.mean()) / (scores.std() or 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | divides by nothing where all scores are equal
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / spread
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | adds a little to the spread, which is much for small scores
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread + 1e-3)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | unlikeness is paid for: cosines below 0 are not cut off
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = alike[taken].max(axis=0)
    return taken


# %% rerank | the mean of the cosines, not the largest
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(alike[taken].mean(axis=0), 0)
    return taken


# %% rerank | the cosines are added up
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = likeness + np.maximum(alike[taken[-1]], 0)
    return taken


# %% rerank | only what was taken last is compared with
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(alike[taken[-1]], 0)
    return taken


# %% rerank | only the first of the list is compared with
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(alike[taken[0]], 0)
    return taken


# %% rerank | a cosine of -1 counts as likeness
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, abs(alike[taken[-1]]))
    return taken


# %% rerank | relevance is not reduced by the price
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | goes on when none is left
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    likeness, taken = np.zeros(n), []
    while len(taken) < k:
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | the scores are overwritten
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    scores = scores if scores.dtype == float else scores.astype(float)
    spread = scores.max() - scores.min()
    scores -= scores.min()
    scores /= spread if spread else 1
    rho = scores
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% rerank | takes the best k by score, and only puts these in another order
def rerank(scores: np.ndarray, alike: np.ndarray, price: float, k: int) -> list[int]:
    n = len(scores)
    if n == 0:
        return []
    spread = scores.max() - scores.min()
    rho = (scores - scores.min()) / (spread if spread else 1)
    best = np.argsort(-scores, kind="stable")[:k]
    rho = np.where(np.isin(np.arange(n), best), rho, -9)
    likeness, taken = np.zeros(n), []
    while len(taken) < min(k, n):
        value = (1 - price) * rho - price * likeness
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        likeness = np.maximum(likeness, alike[taken[-1]])
    return taken


# %% shares | the matrix read along the other side: what the film adds to those that were met
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[film, met] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | weights by place, not by name
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for B, weight in zip(parts.values(), weights.values()):
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weight * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | not divided by the spread: the part with the larger numbers wins
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film]
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | the spread over all films, met ones too
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / B[met].sum(axis=0).std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | the spread of a sample, divided by n - 1
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std(ddof=1)
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | the spread of the shares, not of the scores
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / max(B[met, film].std(), 1e-9)
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | a part that says the same of all films is divided by nothing
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        with np.errstate(all="ignore"):
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | z-scores of the shares: the mean is taken off each
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * (B[met, film] - scores.mean()) / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | absolute values: what speaks against is a reason as well
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-abs(total), kind="stable")[:most]
    return [int(met[place]) for place in order if total[place]]


# %% shares | names a film whose share is 0
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] >= 0]


# %% shares | names whatever is best, even if it speaks against
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order]


# %% shares | of equal shares the lower number, not the earlier
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.lexsort((met, -total))[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | of equal shares the one that stands later
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    if film in met:
        raise ValueError(f"film {film} has been met; nobody recommends it")
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(total, kind="stable")[::-1][:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% shares | says nothing of a film that was met
def shares(parts: dict[str, np.ndarray], weights: dict[str, float], met: np.ndarray, film: int) -> np.ndarray:
    total = np.zeros(len(met))
    for name, B in parts.items():
        scores = np.delete(B[met].sum(axis=0), met)
        if scores.min() < scores.max():
            total += weights[name] * B[met, film] / scores.std()
    return total


def because(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    film: int,
    most: int,
) -> list[int]:
    total = shares(parts, weights, met, film)
    order = np.argsort(-total, kind="stable")[:most]
    return [int(met[place]) for place in order if total[place] > 0]


# %% front | scales over all films, met ones too
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, np.ones_like(met))
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | the text's part has only h b, whatever is known
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = h * b if name == text else (1 - h) * weights[name]
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | the text's part keeps its usual weight, and b comes on top
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h * (name != text)) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | all parts get b
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | only films that nobody has met get another weight
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = (met_by == 0) * 1.0
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | the weights of a film are scaled to add up to 1 again
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused, whole = np.zeros(met.shape), (1 - h) * sum(weights.values()) + h * b + 1e-12
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight / whole * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | weights by place, not by name
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    weights = dict(zip(parts, weights.values()))
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | what was met stays in the list with 0
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return fused


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | a part that is not there is passed over
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | writes into the scores it was given
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        scores[met] = 0
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else max(pairs)[1]


# %% front | cautious: a share that is as good as before is refused
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value > usual]
    return max(free) if free else max(pairs)[1]


# %% front | cautious: 0 where all shares lose
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free, default=0)


# %% front | cautious: of equally good losers the first
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return max(free) if free else shares[quality.index(max(quality))]


# %% front | cautious: the first that is free, as if shares were in order
def front(
    parts: dict[str, np.ndarray],
    weights: dict[str, float],
    met: np.ndarray,
    met_by: np.ndarray,
    text: str,
    b: float,
    pace: float,
) -> np.ndarray:
    if text not in parts:
        raise ValueError(f"there is no part {text}")
    h = pace / (pace + met_by)
    fused = np.zeros(met.shape)
    for name, scores in parts.items():
        weight = (1 - h) * weights[name] + h * b * (name == text)
        fused += weight * zscore(scores, ~met)
    return np.where(met, -np.inf, fused)


def cautious(shares: list[float], quality: list[float], usual: float) -> float:
    pairs = list(zip(quality, shares, strict=True))
    free = [share for value, share in pairs if value >= usual]
    return free[0] if free else max(pairs)[1]


# %% ask | a dot product, so that long vectors win
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | the films' lengths are forgotten
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.full(len(met), np.linalg.norm(wish))
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | a film without text is divided by nothing
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / length
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | a is the person's share
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else 1 - a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | a request alone still counts a only
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += a * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | the request is scaled over all films, met ones too
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, np.ones_like(met))
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | what was met can be asked for again
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return fused if person is None else np.where(met, -np.inf, fused)


# %% ask | an empty request counts as none
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        return ask(None, person, met, read, vectors, a)
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | white space is taken for a request
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request:
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | an empty request is refused only if there is nobody
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if person is None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | nobody and no request gives zeros
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | nan slips through the check of a
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if a < 0 or a > 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | a is checked only where it is used
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if request is not None and person is not None and not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% ask | makes the vectors of the films unit vectors for good
def ask(
    request: str | None,
    person: np.ndarray | None,
    met: np.ndarray,
    read: Callable[[str], np.ndarray],
    vectors: np.ndarray,
    a: float,
) -> np.ndarray:
    if request is None and person is None:
        raise ValueError("say for whom: name a person, or what you would like")
    if request is not None and not request.strip():
        raise ValueError("the request is empty")
    if not 0 <= a <= 1:
        raise ValueError(f"a lies between 0 and 1, not at {a}")
    fused = np.zeros(len(met))
    if request is not None:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        wish = read(request)
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wish)
        cosine = vectors @ wish / np.where(length > 0, length, 1)
        fused += (1 if person is None else a) * zscore(cosine, ~met)
    if person is not None:
        fused += (1 if request is None else 1 - a) * zscore(person, ~met)
    return np.where(met, -np.inf, fused)


# %% save | writes straight into the folder, and tidies up on errors
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = folder
    folder.mkdir()
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | a KeyboardInterrupt is no Exception
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except Exception:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | errors are swallowed
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | what is there is written over
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | pickles are read
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=True) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | what stands behind a point is cut off the name
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save((unfinished / name).with_suffix(".npy"), array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | a number becomes an array of one
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | settings without a sum are believed
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in sums:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | a file that is missing is passed over
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            continue
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False)
        for name in sums
        if name.endswith(".npy") and (folder / name).is_file()
    }
    return content["config"], arrays


# %% save | without sums nothing is checked
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        lines = []
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | only a later format is refused
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] > 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | settings before the format
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | only settings that are not known are refused
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) - known:
        raise ValueError(f"other settings than ours: {', '.join(sorted(strange))}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays


# %% save | names one strange setting of several
def save(folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    import hashlib
    import json
    import shutil
    import tempfile

    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        text = json.dumps({"format": 1, "config": config})
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(unfinished.iterdir())
        ]
        (unfinished / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path, known: set[str]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    import hashlib
    import json

    if not (folder / "SHA256SUMS").is_file():
        raise ValueError(f"SHA256SUMS is missing in {folder}")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in {"model.json", *sums}:
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing in {folder}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not what was written into {folder}")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"{folder} has format {content['format']}; we read format 1")
    if strange := set(content["config"]) ^ known:
        raise ValueError(f"other settings than ours: {sorted(strange)[0]}")
    arrays = {
        name.removesuffix(".npy"): np.load(folder / name, allow_pickle=False) for name in sums if name.endswith(".npy")
    }
    return content["config"], arrays
