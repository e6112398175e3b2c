# %% user-similarity | plain dot products, which favor busy users
def user_similarity(X):
    similarity = X @ X.T
    np.fill_diagonal(similarity, 0.0)
    return similarity


# %% user-similarity | leaves everybody their own best neighbor
def user_similarity(X):
    length = np.linalg.norm(X, axis=1, keepdims=True)
    unit = X / np.where(length > 0, length, 1.0)
    return unit @ unit.T


# %% user-similarity | Jaccard instead of cosine
def user_similarity(X):
    both = X @ X.T
    either = X.sum(axis=1)[:, None] + X.sum(axis=1) - both
    similarity = both / np.where(either > 0, either, 1.0)
    np.fill_diagonal(similarity, 0.0)
    return similarity


# %% neighbor-scores | lets everybody vote
def neighbor_scores(X, similarity, user, k):
    scores = similarity[user] @ X
    scores[X[user] > 0] = -np.inf
    return scores


# %% neighbor-scores | every neighbor's vote counts the same
def neighbor_scores(X, similarity, user, k):
    nearest = np.argsort(-similarity[user], kind="stable")[:k]
    scores = X[nearest].sum(axis=0)
    scores[X[user] > 0] = -np.inf
    return scores


# %% neighbor-scores | shows what was met
def neighbor_scores(X, similarity, user, k):
    nearest = np.argsort(-similarity[user], kind="stable")[:k]
    return similarity[user, nearest] @ X[nearest]


# %% sgd-step | the second update already uses the new p
def sgd_step(p, q, rating, mean, rate, penalty):
    error = rating - (mean + p @ q)
    p = p + rate * (error * q - penalty * p)
    return p, q + rate * (error * p - penalty * q)


# %% sgd-step | steps up the loss
def sgd_step(p, q, rating, mean, rate, penalty):
    error = (mean + p @ q) - rating
    return p + rate * (error * q - penalty * p), q + rate * (error * p - penalty * q)


# %% sgd-step | adds the penalty instead of subtracting it
def sgd_step(p, q, rating, mean, rate, penalty):
    error = rating - (mean + p @ q)
    return p + rate * (error * q + penalty * p), q + rate * (error * p + penalty * q)


# %% solve-user | forgets the confidence
def solve_user(x, Q, alpha, penalty):
    return np.linalg.solve(Q.T @ Q + penalty * np.eye(Q.shape[1]), Q.T @ x)


# %% solve-user | confidence on the left only
def solve_user(x, Q, alpha, penalty):
    left = Q.T @ ((1 + alpha * x)[:, None] * Q) + penalty * np.eye(Q.shape[1])
    return np.linalg.solve(left, Q.T @ x)


# %% solve-user | fits the met items only
def solve_user(x, Q, alpha, penalty):
    met = Q[x > 0]
    left = (1 + alpha) * met.T @ met + penalty * np.eye(Q.shape[1])
    return np.linalg.solve(left, (1 + alpha) * met.sum(axis=0))


# %% ease | ridge regression with its diagonal cut out afterwards
def ease(X, penalty):
    G = X.T @ X
    B = np.linalg.solve(G + penalty * np.eye(len(G)), G)
    np.fill_diagonal(B, 0.0)
    return B


# %% ease | divides rows instead of columns
def ease(X, penalty):
    P = np.linalg.inv(X.T @ X + penalty * np.eye(X.shape[1]))
    B = -P / np.diag(P)[:, None]
    np.fill_diagonal(B, 0.0)
    return B


# %% ease | loses the sign
def ease(X, penalty):
    P = np.linalg.inv(X.T @ X + penalty * np.eye(X.shape[1]))
    B = P / np.diag(P)
    np.fill_diagonal(B, 0.0)
    return B


# %% unreachable | looks at rows: what an item says about others
def unreachable(B):
    return np.flatnonzero(~B.any(axis=1)).tolist()


# %% unreachable | takes a sum of zero for no weight
def unreachable(B):
    return np.flatnonzero(B.sum(axis=0) == 0).tolist()


# %% unreachable | asks for positive weights
def unreachable(B):
    return np.flatnonzero(~(B > 0).any(axis=0)).tolist()
