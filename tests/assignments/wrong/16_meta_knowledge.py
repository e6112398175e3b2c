# ruff: noqa
# %% score | the formula as article S3 prints it: the sum of k times the dot product
def score(U, V, K):
    return (U @ V.T) * (1 + np.broadcast_to(K, (len(U), *V.shape)).sum(axis=2))


# %% score | the correction alone, without the dot product
def score(U, V, K):
    return (U[:, None] * V * K).sum(axis=2)


# %% score | one weight for the whole product of a pair, the mean of k
def score(U, V, K):
    return (U @ V.T) * (1 + np.broadcast_to(K, (len(U), *V.shape)).mean(axis=2))


# %% score | row 1 of the users with row 1 of the items, as if only they were pairs
def score(U, V, K):
    n = min(len(U), len(V))
    K = np.broadcast_to(K, (len(U), *V.shape))
    return (U[:n] * V[:n] * (1 + K[:n, :n].mean(axis=1))).sum(axis=1)


# %% score | one vector for all pairs: the mean of all corrections
def score(U, V, K):
    k = np.broadcast_to(K, (len(U), *V.shape)).mean(axis=(0, 1))
    return U @ (V * (1 + k)).T


# %% score | the same correction for all items of a user
def score(U, V, K):
    K = np.broadcast_to(K, (len(U), *V.shape))
    return (U * (1 + K[:, 0])) @ V.T


# %% score | the sum of the corrections is added, however large the factors are
def score(U, V, K):
    return U @ V.T + np.broadcast_to(K, (len(U), *V.shape)).sum(axis=2)


# %% score | adds 1 to K in place
def score(U, V, K):
    K += 1
    return (U[:, None] * V * K).sum(axis=2)


# %% fold | weighs by k, not by 1 + k
def fold(U, V, K):
    if (K == K[:1]).all():
        return U, V * K[0]
    if (K == K[:, :1]).all():
        return U * K[:, 0], V
    return None


# %% fold | only what all pairs share can be folded
def fold(U, V, K):
    if (K == K[0, 0]).all():
        return U, V * (1 + K[0])
    return None


# %% fold | always into the items' factors, with the mean over the users
def fold(U, V, K):
    return U, V * (1 + K.mean(axis=0))


# %% fold | what depends on the users goes into the items' factors
def fold(U, V, K):
    if (K == K[:1]).all() or (K == K[:, :1]).all():
        return U, V * (1 + K[0])
    return None


# %% fold | looks at the first and the last user, and the first and the last item
def fold(U, V, K):
    if (K[0] == K[-1]).all():
        return U, V * (1 + K[0])
    if (K[:, 0] == K[:, -1]).all():
        return U * (1 + K[:, 0]), V
    return None


# %% fold | takes a tiny correction for none
def fold(U, V, K):
    if np.allclose(K, K[:1]):
        return U, V * (1 + K[0])
    if np.allclose(K, K[:, :1]):
        return U * (1 + K[:, 0]), V
    return None


# %% fold | into both tables, so that it counts twice
def fold(U, V, K):
    if (K == K[:1]).all() or (K == K[:, :1]).all():
        return U * (1 + K[:, 0]), V * (1 + K[0])
    return None


# %% fold | only the sum of a correction over the factors is looked at
def fold(U, V, K):
    total = K.sum(axis=2)
    if (total == total[:1]).all():
        return U, V * (1 + K[0])
    if (total == total[:, :1]).all():
        return U * (1 + K[:, 0]), V
    return None


# %% fold | writes into the tables it was given
def fold(U, V, K):
    if (K == K[:1]).all():
        V *= 1 + K[0]
        return U, V
    if (K == K[:, :1]).all():
        U *= 1 + K[:, 0]
        return U, V
    return None


# %% network | the item's vector before the user's
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, d:].T + b1, V @ W1[:, :d].T


def correction(P, Q, W2, b2):
    return np.maximum(P[:, None] + Q, 0) @ W2.T + b2


def begin(d, h, rng):
    W1 = rng.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | the bias in both parts, so that it counts twice
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T + b1


def correction(P, Q, W2, b2):
    return np.maximum(P[:, None] + Q, 0) @ W2.T + b2


def begin(d, h, rng):
    W1 = rng.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | the relu of each part, not of their sum: no unit reads both any more
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return (np.maximum(P, 0)[:, None] + np.maximum(Q, 0)) @ W2.T + b2


def begin(d, h, rng):
    W1 = rng.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | no relu: a linear network
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return (P[:, None] + Q) @ W2.T + b2


def begin(d, h, rng):
    W1 = rng.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | a relu behind the last layer, so that a correction can only raise
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return np.maximum(np.maximum(P[:, None] + Q, 0) @ W2.T + b2, 0)


def begin(d, h, rng):
    W1 = rng.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | all zeros: the units are silent, and nothing is ever learned
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return np.maximum(P[:, None] + Q, 0) @ W2.T + b2


def begin(d, h, rng):
    return np.zeros((h, 2 * d)), np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | the last layer is drawn too, so that the model begins with noise
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return np.maximum(P[:, None] + Q, 0) @ W2.T + b2


def begin(d, h, rng):
    W1 = rng.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), rng.normal(0, h**-0.5, (d, h)), np.zeros(d)


# %% network | draws from a state that all share, whatever rng is
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return np.maximum(P[:, None] + Q, 0) @ W2.T + b2


def begin(d, h, rng):
    W1 = np.random.normal(0, (2 * d) ** -0.5, (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% network | the variance in the place of the standard deviation
def parts(U, V, W1, b1):
    d = U.shape[1]
    return U @ W1[:, :d].T + b1, V @ W1[:, d:].T


def correction(P, Q, W2, b2):
    return np.maximum(P[:, None] + Q, 0) @ W2.T + b2


def begin(d, h, rng):
    W1 = rng.normal(0, 1 / (2 * d), (h, 2 * d))
    return W1, np.zeros(h), np.zeros((d, h)), np.zeros(d)


# %% align | row 1 of the users with row 1 of the items, cut to the length of the log
def align(U, V, users, items, log):
    for user, item in log:
        if user not in users or item not in items:
            raise ValueError(f"unknown user {user} or item {item}")
    rows = np.arange(len(log))
    return U[rows % len(U)], V[rows % len(V)]


# %% align | takes the tables as sorted by their ids
def align(U, V, users, items, log):
    found = []
    for table, kind, known, side in ((U, "user", users, 0), (V, "item", items, 1)):
        row = {name: r for r, name in enumerate(sorted(known))}
        for pair in log:
            if pair[side] not in row:
                raise ValueError(f"unknown {kind} {pair[side]}")
        found.append(table[np.array([row[pair[side]] for pair in log], dtype=int)])
    return tuple(found)


# %% align | looks ids up by bisection: an unknown one gets the row of its neighbor
def align(U, V, users, items, log):
    found = []
    for table, known, side in ((U, users, 0), (V, items, 1)):
        order = np.argsort(known)
        wanted = np.array([pair[side] for pair in log], dtype=int)
        place = np.searchsorted(np.array(known)[order], wanted)
        found.append(table[order[np.minimum(place, len(known) - 1)]])
    return tuple(found)


# %% align | an unknown id gets -1, which is the last row
def align(U, V, users, items, log):
    row = {user: r for r, user in enumerate(users)}
    column = {item: c for c, item in enumerate(items)}
    return (
        U[np.array([row.get(user, -1) for user, _ in log], dtype=int)],
        V[np.array([column.get(item, -1) for _, item in log], dtype=int)],
    )


# %% align | leaves out pairs with an unknown id without a word
def align(U, V, users, items, log):
    log = [(user, item) for user, item in log if user in users and item in items]
    return (
        U[np.array([users.index(user) for user, _ in log], dtype=int)],
        V[np.array([items.index(item) for _, item in log], dtype=int)],
    )


# %% align | the error of the dictionary, which is a KeyError and names a number only
def align(U, V, users, items, log):
    row = {user: r for r, user in enumerate(users)}
    column = {item: c for c, item in enumerate(items)}
    return (
        U[np.array([row[user] for user, _ in log], dtype=int)],
        V[np.array([column[item] for _, item in log], dtype=int)],
    )


# %% align | the error of list.index does not say whether it is a user or an item
def align(U, V, users, items, log):
    return (
        U[np.array([users.index(user) for user, _ in log], dtype=int)],
        V[np.array([items.index(item) for _, item in log], dtype=int)],
    )


# %% align | an error that names no id
def align(U, V, users, items, log):
    row = {user: r for r, user in enumerate(users)}
    column = {item: c for c, item in enumerate(items)}
    if any(user not in row or item not in column for user, item in log):
        raise ValueError("the log has an unknown user or item")
    return (
        U[np.array([row[user] for user, _ in log], dtype=int)],
        V[np.array([column[item] for _, item in log], dtype=int)],
    )


# %% align | one dictionary for users and items: an id of both is overwritten
def align(U, V, users, items, log):
    row = {user: r for r, user in enumerate(users)}
    row.update({item: c for c, item in enumerate(items)})
    for user, item in log:
        if user not in row:
            raise ValueError(f"unknown user {user}")
        if item not in row:
            raise ValueError(f"unknown item {item}")
    return (
        U[np.array([row[user] % len(U) for user, _ in log], dtype=int)],
        V[np.array([row[item] for _, item in log], dtype=int)],
    )


# %% sampled | the wanted item is its own rival where it is drawn
def sampled(scores, wanted, drawn):
    z = scores - scores.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    gradient = np.exp(z) / total
    gradient[:, 0] -= 1
    return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient / len(scores)


# %% sampled | a score of zero is no mask: it still counts as exp(0)
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), drawn != wanted[:, None]]
    z = scores * rival
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    gradient = np.exp(z) / total * rival
    gradient[:, 0] -= 1
    return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient / len(scores)


# %% sampled | masks the loss, but its gradient still pushes the item below itself
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), drawn != wanted[:, None]]
    z = np.where(rival, scores, -np.inf)
    top = z.max(axis=1, keepdims=True)
    total = np.exp(z - top).sum(axis=1, keepdims=True)
    gradient = np.exp(np.minimum(scores - top, 0)) / total
    gradient[:, 0] -= 1
    loss = np.log(total[:, 0]) + top[:, 0] - scores[:, 0]
    return float(loss.mean()), gradient / len(scores)


# %% sampled | items that are wanted in any row of the batch are rivals nowhere
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), ~np.isin(drawn, wanted)]
    z = np.where(rival, scores, -np.inf)
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    gradient = np.exp(z) / total
    gradient[:, 0] -= 1
    return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient / len(scores)


# %% sampled | the largest score is taken before the mask: beside a loud item that takes no part nothing is left
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), drawn != wanted[:, None]]
    with np.errstate(all="ignore"):
        z = scores - scores.max(axis=1, keepdims=True)
        e = np.exp(z) * rival
        total = e.sum(axis=1, keepdims=True)
        gradient = e / total
        gradient[:, 0] -= 1
        return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient / len(scores)


# %% sampled | the logarithm of a probability plus a little: a bad mistake hardly costs
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), drawn != wanted[:, None]]
    z = np.where(rival, scores, -np.inf)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[:, 0] + 1e-12).mean()
    p[:, 0] -= 1
    return float(loss), p / len(scores)


# %% sampled | the mean of the loss, but the gradient of the sum
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), drawn != wanted[:, None]]
    z = np.where(rival, scores, -np.inf)
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    gradient = np.exp(z) / total
    gradient[:, 0] -= 1
    return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient


# %% sampled | an item that is drawn twice takes part once
def sampled(scores, wanted, drawn):
    rival = np.c_[np.ones(len(scores), dtype=bool), drawn != wanted[:, None]]
    for row, items in enumerate(drawn):
        first = np.zeros(len(items), dtype=bool)
        first[np.unique(items, return_index=True)[1]] = True
        rival[row, 1:] &= first
    z = np.where(rival, scores, -np.inf)
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    gradient = np.exp(z) / total
    gradient[:, 0] -= 1
    return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient / len(scores)


# %% sampled | writes the mask into the scores it was given
def sampled(scores, wanted, drawn):
    scores[:, 1:][drawn == wanted[:, None]] = -np.inf
    z = scores - scores.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    gradient = np.exp(z) / total
    gradient[:, 0] -= 1
    return float((np.log(total[:, 0]) - z[:, 0]).mean()), gradient / len(scores)


# %% pool | every place looks at the whole history, the future too
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.abs(back)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    may = known[:, None, :] & np.ones((t, 1), dtype=bool)
    logits = np.where(may, logits, -np.inf)
    top = logits.max(axis=2, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=2, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    return weights, weights @ E


# %% pool | a padded place is an item with a vector of zeros
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    logits = np.where(back >= 0, logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights = weights / weights.sum(axis=2, keepdims=True)
    return weights, weights @ E


# %% pool | masks what the softmax gave, so that the weights no longer sum to 1
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights = weights / weights.sum(axis=2, keepdims=True)
    weights = weights * ((back >= 0) & known[:, None, :])
    return weights, weights @ E


# %% pool | the softmax of nothing is nan
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    logits = np.where((back >= 0) & known[:, None, :], logits, -np.inf)
    with np.errstate(all="ignore"):
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        weights = weights / weights.sum(axis=2, keepdims=True)
        return weights, weights @ E


# %% pool | large negative logits for the mask: where nothing is left all places count alike
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    logits = np.where((back >= 0) & known[:, None, :], logits, -1e9)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights = weights / weights.sum(axis=2, keepdims=True)
    return weights, weights @ E


# %% pool | a padded place has no weight, but nan times zero is nan
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    may = (back >= 0) & known[:, None, :]
    logits = np.where(may, logits, -np.inf)
    top = logits.max(axis=2, keepdims=True)
    weights = np.exp(logits - np.where(may.any(axis=2, keepdims=True), top, 0))
    total = weights.sum(axis=2, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    return weights, weights @ E


# %% pool | the place in the history, not the distance
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    may = (back >= 0) & known[:, None, :]
    logits = np.where(may, logits, -np.inf)
    top = logits.max(axis=2, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=2, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    return weights, weights @ E


# %% pool | does not divide by the root of d
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2)
    may = (back >= 0) & known[:, None, :]
    logits = np.where(may, logits, -np.inf)
    top = logits.max(axis=2, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=2, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    return weights, weights @ E


# %% pool | the largest logit is looked for in the future as well, and the exponentials vanish
def pool(E, known, b=None, Wq=None, Wk=None):
    n, t, d = E.shape
    E = np.where(known[:, :, None], E, 0)
    back = np.arange(t)[:, None] - np.arange(t)
    logits = np.zeros((n, t, t))
    if b is not None:
        logits = logits + b[np.maximum(back, 0)]
    if Wq is not None:
        logits = logits + E @ Wq.T @ (E @ Wk.T).swapaxes(1, 2) / d**0.5
    may = (back >= 0) & known[:, None, :]
    weights = np.exp(logits - logits.max(axis=2, keepdims=True)) * may
    total = weights.sum(axis=2, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    return weights, weights @ E


# %% choose | the highest mean on the validation data
def choose(valid, test):
    chosen = int(np.nan_to_num(np.nansum(valid, axis=1)).argmax())
    more = test[chosen] - test[0]
    more = more[~np.isnan(more)]
    return chosen, float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)


# %% choose | the standard errors of the two models, as if other users had tried each
def choose(valid, test):
    good = valid[:, ~np.isnan(valid[0])]
    n, chosen = good.shape[1], 0
    for model in range(1, len(good)):
        if n < 2:
            break
        error = ((good[model].var(ddof=1) + good[chosen].var(ddof=1)) / n) ** 0.5
        if good[model].mean() - good[chosen].mean() > 2 * error:
            chosen = model
    more = test[chosen] - test[0]
    more = more[~np.isnan(more)]
    return chosen, float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)


# %% choose | compares with the first model, and takes the last that is surely better than it
def choose(valid, test):
    def gain(more):
        more = more[~np.isnan(more)]
        if len(more) < 2:
            return 0.0, 0.0
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(valid)):
        mean, error = gain(valid[model] - valid[0])
        if mean > 2 * error:
            chosen = model
    return chosen, *gain(test[chosen] - test[0])


# %% choose | the test data choose
def choose(valid, test):
    def gain(more):
        more = more[~np.isnan(more)]
        if len(more) < 2:
            return 0.0, 0.0
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(test)):
        mean, error = gain(test[model] - test[chosen])
        if mean > 2 * error:
            chosen = model
    return chosen, *gain(test[chosen] - test[0])


# %% choose | equal models: the richer one
def choose(valid, test):
    def gain(more):
        more = more[~np.isnan(more)]
        if len(more) < 2:
            return 0.0, 0.0
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(valid)):
        mean, error = gain(valid[model] - valid[chosen])
        if mean >= 2 * error:
            chosen = model
    return chosen, *gain(test[chosen] - test[0])


# %% choose | one standard error is enough
def choose(valid, test):
    def gain(more):
        more = more[~np.isnan(more)]
        if len(more) < 2:
            return 0.0, 0.0
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(valid)):
        mean, error = gain(valid[model] - valid[chosen])
        if mean > error:
            chosen = model
    return chosen, *gain(test[chosen] - test[0])


# %% choose | a user with nothing to find counts as a user without a gain
def choose(valid, test):
    def gain(more):
        more = np.nan_to_num(more)
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(valid)):
        mean, error = gain(valid[model] - valid[chosen])
        if mean > 2 * error:
            chosen = model
    return chosen, *gain(test[chosen] - test[0])


# %% choose | reports the gain on the data that chose
def choose(valid, test):
    def gain(more):
        more = more[~np.isnan(more)]
        if len(more) < 2:
            return 0.0, 0.0
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(valid)):
        mean, error = gain(valid[model] - valid[chosen])
        if mean > 2 * error:
            chosen = model
    return chosen, *gain(valid[chosen] - valid[0])


# %% choose | stops at the first model that is not surely better
def choose(valid, test):
    def gain(more):
        more = more[~np.isnan(more)]
        if len(more) < 2:
            return 0.0, 0.0
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    chosen = 0
    for model in range(1, len(valid)):
        mean, error = gain(valid[model] - valid[chosen])
        if mean <= 2 * error:
            break
        chosen = model
    return chosen, *gain(test[chosen] - test[0])
