# ruff: noqa
# %% posterior | takes beta for the variance of the noise
def posterior(mean, precision, Z, y, beta):
    weighted = Z.T / np.maximum(beta, 1e-9)
    after = precision + weighted @ Z
    return np.linalg.solve(after, precision @ mean + weighted @ y), after


# %% posterior | shrinks to zero, not to the prior's mean
def posterior(mean, precision, Z, y, beta):
    weighted = Z.T * beta
    after = precision + weighted @ Z
    return np.linalg.solve(after, weighted @ y), after


# %% posterior | adds the prior's mean afterwards, as if the ratings were deviations from it
def posterior(mean, precision, Z, y, beta):
    weighted = Z.T * beta
    after = precision + weighted @ Z
    return mean + np.linalg.solve(after, weighted @ y), after


# %% posterior | weighs both sides, so that beta counts twice
def posterior(mean, precision, Z, y, beta):
    Z, y = Z * beta[:, None], y * beta
    after = precision + Z.T @ Z
    return np.linalg.solve(after, precision @ mean + Z.T @ y), after


# %% posterior | goes by covariances, which a singular precision and a beta of 0 do not have
def posterior(mean, precision, Z, y, beta):
    spread = np.linalg.inv(precision)
    gain = spread @ Z.T @ np.linalg.inv(Z @ spread @ Z.T + np.diag(1 / np.maximum(beta, 1e-300)))
    return mean + gain @ (y - Z @ mean), np.linalg.inv(spread - gain @ Z @ spread)


# %% posterior | returns the covariance
def posterior(mean, precision, Z, y, beta):
    covariance = np.linalg.inv(precision + (Z.T * beta) @ Z)
    return covariance @ (precision @ mean + (Z.T * beta) @ y), covariance


# %% posterior | adds to the prior in place
def posterior(mean, precision, Z, y, beta):
    weighted = Z.T * beta
    right = precision @ mean + weighted @ y
    precision += weighted @ Z
    return np.linalg.solve(precision, right), precision.copy()


# %% prior | forgets the remaining doubt of the weights
def em_round(mean, covariance, beta, people):
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    middles = np.stack([m for m, _ in found])
    off = middles - middles.mean(0)
    squares = sum(((y - Z @ m) ** 2).sum() + ((Z @ c) * Z).sum() for (Z, y), (m, c) in zip(people, found))
    return middles.mean(0), off.T @ off / len(people), sum(len(y) for _, y in people) / squares


# %% prior | forgets the remaining doubt in the noise
def em_round(mean, covariance, beta, people):
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    middles = np.stack([m for m, _ in found])
    off = middles - middles.mean(0)
    spread = off.T @ off / len(people) + np.mean([c for _, c in found], axis=0)
    squares = sum(((y - Z @ m) ** 2).sum() for (Z, y), (m, _) in zip(people, found))
    return middles.mean(0), spread, sum(len(y) for _, y in people) / squares


# %% prior | the spread around the old mean
def em_round(mean, covariance, beta, people):
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    middles = np.stack([m for m, _ in found])
    off = middles - mean
    spread = off.T @ off / len(people) + np.mean([c for _, c in found], axis=0)
    squares = sum(((y - Z @ m) ** 2).sum() + ((Z @ c) * Z).sum() for (Z, y), (m, c) in zip(people, found))
    return middles.mean(0), spread, sum(len(y) for _, y in people) / squares


# %% prior | np.cov divides by one person less
def em_round(mean, covariance, beta, people):
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    middles = np.stack([m for m, _ in found])
    off = middles - middles.mean(0)
    spread = off.T @ off / max(len(people) - 1, 1) + np.mean([c for _, c in found], axis=0)
    squares = sum(((y - Z @ m) ** 2).sum() + ((Z @ c) * Z).sum() for (Z, y), (m, c) in zip(people, found))
    return middles.mean(0), spread, sum(len(y) for _, y in people) / squares


# %% prior | people count by their ratings
def em_round(mean, covariance, beta, people):
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    share = np.array([len(y) for _, y in people]) / sum(len(y) for _, y in people)
    middles, doubts = (np.stack(part) for part in zip(*found))
    new = share @ middles
    off = middles - new
    spread = (off.T * share) @ off + np.tensordot(share, doubts, 1)
    squares = sum(((y - Z @ m) ** 2).sum() + ((Z @ c) * Z).sum() for (Z, y), (m, c) in zip(people, found))
    return new, spread, sum(len(y) for _, y in people) / squares


# %% prior | leaves out those who rated nothing
def em_round(mean, covariance, beta, people):
    people = [(Z, y) for Z, y in people if len(y)]
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    middles = np.stack([m for m, _ in found])
    off = middles - middles.mean(0)
    spread = off.T @ off / len(people) + np.mean([c for _, c in found], axis=0)
    squares = sum(((y - Z @ m) ** 2).sum() + ((Z @ c) * Z).sum() for (Z, y), (m, c) in zip(people, found))
    return middles.mean(0), spread, sum(len(y) for _, y in people) / squares


# %% prior | the noise is a mean over people of means over ratings
def em_round(mean, covariance, beta, people):
    found = [adapted(mean, covariance, Z, y, beta) for Z, y in people]
    middles = np.stack([m for m, _ in found])
    off = middles - middles.mean(0)
    spread = off.T @ off / len(people) + np.mean([c for _, c in found], axis=0)
    squares = [((y - Z @ m) ** 2 + ((Z @ c) * Z).sum(1)).mean() for (Z, y), (m, c) in zip(people, found) if len(y)]
    return middles.mean(0), spread, 1 / np.mean(squares)


# %% worlds | averages the worlds and answers in the mean of them
def stars(worlds, items, ratings, asked):
    world = World(*(np.mean([one[part] for one in worlds], axis=0) for part in range(5)))
    y = ratings - world.level[items]
    w, doubt = adapted(world.mean, world.covariance, world.loadings[items], y, world.beta)
    z = world.loadings[asked]
    return world.level[asked] + z @ w, ((z @ doubt) * z).sum(1) + 1 / world.beta


# %% worlds | averages the person's weights over worlds, then answers with the mean of the films
def stars(worlds, items, ratings, asked):
    found = [adapted(v.mean, v.covariance, v.loadings[items], ratings - v.level[items], v.beta) for v in worlds]
    w, doubt = (np.mean(part, axis=0) for part in zip(*found))
    z = np.mean([v.loadings[asked] for v in worlds], axis=0)
    level = np.mean([v.level[asked] for v in worlds], axis=0)
    return level + z @ w, ((z @ doubt) * z).sum(1) + np.mean([1 / v.beta for v in worlds])


# %% worlds | forgets that the worlds disagree
def stars(worlds, items, ratings, asked):
    means, variances = [], []
    for v in worlds:
        w, doubt = adapted(v.mean, v.covariance, v.loadings[items], ratings - v.level[items], v.beta)
        z = v.loadings[asked]
        means.append(v.level[asked] + z @ w)
        variances.append(((z @ doubt) * z).sum(1) + 1 / v.beta)
    return np.mean(means, axis=0), np.mean(variances, axis=0)


# %% worlds | forgets the noise of the rating
def stars(worlds, items, ratings, asked):
    means, variances = [], []
    for v in worlds:
        w, doubt = adapted(v.mean, v.covariance, v.loadings[items], ratings - v.level[items], v.beta)
        z = v.loadings[asked]
        means.append(v.level[asked] + z @ w)
        variances.append(((z @ doubt) * z).sum(1))
    return np.mean(means, axis=0), np.mean(variances, axis=0) + np.var(means, axis=0)


# %% worlds | the posterior of one world is the prior of the next
def stars(worlds, items, ratings, asked):
    means, variances = [], []
    w, doubt = worlds[0].mean, worlds[0].covariance
    for v in worlds:
        w, doubt = adapted(w, doubt, v.loadings[items], ratings - v.level[items], v.beta)
        z = v.loadings[asked]
        means.append(v.level[asked] + z @ w)
        variances.append(((z @ doubt) * z).sum(1) + 1 / v.beta)
    return np.mean(means, axis=0), np.mean(variances, axis=0) + np.var(means, axis=0)


# %% worlds | adapts to the stars, not to what they are beyond the level
def stars(worlds, items, ratings, asked):
    means, variances = [], []
    for v in worlds:
        w, doubt = adapted(v.mean, v.covariance, v.loadings[items], ratings, v.beta)
        z = v.loadings[asked]
        means.append(v.level[asked] + z @ w)
        variances.append(((z @ doubt) * z).sum(1) + 1 / v.beta)
    return np.mean(means, axis=0), np.mean(variances, axis=0) + np.var(means, axis=0)


# %% worlds | averages precisions: a world that is sure decides for all
def stars(worlds, items, ratings, asked):
    means, variances = [], []
    for v in worlds:
        w, doubt = adapted(v.mean, v.covariance, v.loadings[items], ratings - v.level[items], v.beta)
        z = v.loadings[asked]
        means.append(v.level[asked] + z @ w)
        variances.append(((z @ doubt) * z).sum(1) + 1 / v.beta)
    sure = 1 / np.array(variances)
    return np.average(means, axis=0, weights=sure), 1 / sure.mean(0) + np.var(means, axis=0)


# %% offset | one offset for everybody, however much is known
def with_offset(held_out, k, said, fewest):
    gaps = [(rated - expected).mean() for _, expected, rated in held_out]
    return np.clip(said + (np.mean(gaps) if len(gaps) >= fewest else 0), 1, 5)


# %% offset | every rating counts alike
def with_offset(held_out, k, said, fewest):
    gaps = {}
    for known, expected, rated in held_out:
        gaps.setdefault(known, []).append(rated - expected)
    offsets = {known: np.concatenate(gap).mean() for known, gap in sorted(gaps.items()) if len(gap) >= fewest}
    if not offsets:
        return np.clip(said, 1, 5)
    return np.clip(said + offsets[min(offsets, key=lambda n: abs(np.log1p(n) - np.log1p(k)))], 1, 5)


# %% offset | holds to the scale first and adds then
def with_offset(held_out, k, said, fewest):
    gaps = {}
    for known, expected, rated in held_out:
        gaps.setdefault(known, []).append((rated - expected).mean())
    offsets = {known: np.mean(gap) for known, gap in sorted(gaps.items()) if len(gap) >= fewest}
    if not offsets:
        return np.clip(said, 1, 5)
    return np.clip(said, 1, 5) + offsets[min(offsets, key=lambda n: abs(np.log1p(n) - np.log1p(k)))]


# %% offset | nearest by the number itself
def with_offset(held_out, k, said, fewest):
    gaps = {}
    for known, expected, rated in held_out:
        gaps.setdefault(known, []).append((rated - expected).mean())
    offsets = {known: np.mean(gap) for known, gap in sorted(gaps.items()) if len(gap) >= fewest}
    if not offsets:
        return np.clip(said, 1, 5)
    return np.clip(said + offsets[min(offsets, key=lambda n: abs(n - k))], 1, 5)


# %% offset | learns it on answers that were held to the scale
def with_offset(held_out, k, said, fewest):
    gaps = {}
    for known, expected, rated in held_out:
        gaps.setdefault(known, []).append((rated - np.clip(expected, 1, 5)).mean())
    offsets = {known: np.mean(gap) for known, gap in sorted(gaps.items()) if len(gap) >= fewest}
    if not offsets:
        return np.clip(said, 1, 5)
    return np.clip(said + offsets[min(offsets, key=lambda n: abs(np.log1p(n) - np.log1p(k)))], 1, 5)


# %% offset | of two equally near the one that came first
def with_offset(held_out, k, said, fewest):
    gaps = {}
    for known, expected, rated in held_out:
        gaps.setdefault(known, []).append((rated - expected).mean())
    offsets = {known: np.mean(gap) for known, gap in gaps.items() if len(gap) >= fewest}
    if not offsets:
        return np.clip(said, 1, 5)
    return np.clip(said + offsets[min(offsets, key=lambda n: abs(np.log1p(n) - np.log1p(k)))], 1, 5)


# %% offset | picks the nearest number first, though too few people had it
def with_offset(held_out, k, said, fewest):
    gaps = {}
    for known, expected, rated in held_out:
        gaps.setdefault(known, []).append((rated - expected).mean())
    if not gaps:
        return np.clip(said, 1, 5)
    gap = gaps[min(sorted(gaps), key=lambda n: abs(np.log1p(n) - np.log1p(k)))]
    return np.clip(said + (np.mean(gap) if len(gap) >= fewest else 0), 1, 5)


# %% attend | everybody attends to themselves most
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ whole.T) + theta[1] * np.log1p(whole.sum(1))
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    return a, a @ query


# %% attend | takes the own user out after the softmax, so that the rows do not sum to one
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ whole.T) + theta[1] * np.log1p(whole.sum(1))
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    rows = np.flatnonzero(exclude_self >= 0)
    a[rows, exclude_self[rows]] = 0
    return a, a @ query


# %% attend | -1 is the last person to numpy
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ whole.T) + theta[1] * np.log1p(whole.sum(1))
    scores[np.arange(len(s)), exclude_self] = -np.inf
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    return a, a @ query


# %% attend | takes the own user out after the exponential: beside them all others are rounded to zero
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ whole.T) + theta[1] * np.log1p(whole.sum(1))
    a = np.exp(scores - scores.max(1, keepdims=True))
    rows = np.flatnonzero(exclude_self >= 0)
    a[rows, exclude_self[rows]] = 0
    a = a / np.maximum(a.sum(1, keepdims=True), 1e-300)
    return a, a @ query


# %% attend | gives the own user the score zero, which is attention too
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ whole.T) + theta[1] * np.log1p(whole.sum(1))
    rows = np.flatnonzero(exclude_self >= 0)
    scores[rows, exclude_self[rows]] = 0
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    return a, a @ query


# %% attend | expects what people chose at any time, the first items included
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ whole.T) + theta[1] * np.log1p(whole.sum(1))
    rows = np.flatnonzero(exclude_self >= 0)
    scores[rows, exclude_self[rows]] = -np.inf
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    return a, a @ whole


# %% attend | shares only with what people chose first
def attend(s, support, query, theta, exclude_self):
    whole = support + query
    scores = theta[0] * np.log1p(s @ support.T) + theta[1] * np.log1p(whole.sum(1))
    rows = np.flatnonzero(exclude_self >= 0)
    scores[rows, exclude_self[rows]] = -np.inf
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    return a, a @ query


# %% ask | plans all questions from what is known before the first
def plan(C, beta, Z, weights, chance, n, asked):
    told = Z @ C
    worth = ((told @ ((Z.T * (weights / weights.sum())) @ Z)) * told).sum(1) / (1 / beta + (told * Z).sum(1))
    score = worth * chance
    order = [int(i) for i in np.argsort(-score, kind="stable") if i not in asked][:n]
    return order, [float(score[i]) for i in order]


# %% ask | asks what it is least sure of, whatever else that would tell
def plan(C, beta, Z, weights, chance, n, asked):
    free = [i for i in range(len(Z)) if i not in asked]
    order, scores = [], []
    while free and len(order) < n:
        told = Z @ C
        score = chance * (told * Z).sum(1)
        best = max(free, key=lambda i: score[i])
        free.remove(best)
        order.append(best)
        scores.append(float(score[best]))
        C = C - np.outer(told[best], told[best]) / (1 / beta + told[best] @ Z[best])
    return order, scores


# %% ask | may ask the same film twice
def plan(C, beta, Z, weights, chance, n, asked):
    matters = (Z.T * (weights / weights.sum())) @ Z
    order, scores = [], []
    for _ in range(min(n, len(Z) - len(asked))):
        told = Z @ C
        variance = 1 / beta + (told * Z).sum(1)
        score = chance * ((told @ matters) * told).sum(1) / variance
        score[list(asked)] = -np.inf
        best = int(score.argmax())
        order.append(best)
        scores.append(float(score[best]))
        C = C - np.outer(told[best], told[best]) / variance[best]
    return order, scores


# %% ask | gives the films that were asked the score zero, as others may have too
def plan(C, beta, Z, weights, chance, n, asked):
    matters = (Z.T * (weights / weights.sum())) @ Z
    gone, order, scores = list(asked), [], []
    for _ in range(min(n, len(Z) - len(gone))):
        told = Z @ C
        variance = 1 / beta + (told * Z).sum(1)
        score = chance * ((told @ matters) * told).sum(1) / variance
        score[gone] = 0
        best = int(score.argmax())
        gone.append(best)
        order.append(best)
        scores.append(float(score[best]))
        C = C - np.outer(told[best], told[best]) / variance[best]
    return order, scores


# %% ask | takes beta for the variance of the noise
def plan(C, beta, Z, weights, chance, n, asked):
    matters = (Z.T * (weights / weights.sum())) @ Z
    free = [i for i in range(len(Z)) if i not in asked]
    order, scores = [], []
    while free and len(order) < n:
        told = Z @ C
        variance = beta + (told * Z).sum(1)
        score = chance * ((told @ matters) * told).sum(1) / variance
        best = max(free, key=lambda i: score[i])
        free.remove(best)
        order.append(best)
        scores.append(float(score[best]))
        C = C - np.outer(told[best], told[best]) / variance[best]
    return order, scores


# %% ask | what was asked does not matter any more
def plan(C, beta, Z, weights, chance, n, asked):
    free = [i for i in range(len(Z)) if i not in asked]
    order, scores = [], []
    while free and len(order) < n:
        matters = (Z[free].T * (weights[free] / weights[free].sum())) @ Z[free]
        told = Z @ C
        variance = 1 / beta + (told * Z).sum(1)
        score = chance * ((told @ matters) * told).sum(1) / variance
        best = max(free, key=lambda i: score[i])
        free.remove(best)
        order.append(best)
        scores.append(float(score[best]))
        C = C - np.outer(told[best], told[best]) / variance[best]
    return order, scores


# %% ask | expects that only so many answer: a part of the covariance goes by the chance
def plan(C, beta, Z, weights, chance, n, asked):
    matters = (Z.T * (weights / weights.sum())) @ Z
    free = [i for i in range(len(Z)) if i not in asked]
    order, scores = [], []
    while free and len(order) < n:
        told = Z @ C
        variance = 1 / beta + (told * Z).sum(1)
        score = chance * ((told @ matters) * told).sum(1) / variance
        best = max(free, key=lambda i: score[i])
        free.remove(best)
        order.append(best)
        scores.append(float(score[best]))
        C = C - chance[best] * np.outer(told[best], told[best]) / variance[best]
    return order, scores
