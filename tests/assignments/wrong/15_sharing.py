# ruff: noqa
# %% losses | takes a missing label for a zero
def losses(outputs, targets, kinds):
    targets, n = np.nan_to_num(targets), len(outputs)
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        z, y = outputs[:, t], targets[:, t]
        if kind == "regression":
            found[t], gradient[:, t] = ((z - y) ** 2).mean(), 2 * (z - y) / n
        else:
            found[t] = (np.logaddexp(0, z) - y * z).mean()
            gradient[:, t] = (np.exp(-np.logaddexp(0, -z)) - y) / n
    return found, gradient


# %% losses | leaves missing labels out of the sum, but divides by all rows
def losses(outputs, targets, kinds):
    n = len(outputs)
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        known = ~np.isnan(targets[:, t])
        z, y = outputs[known, t], targets[known, t]
        if kind == "regression":
            found[t], gradient[known, t] = ((z - y) ** 2).sum() / n, 2 * (z - y) / n
        else:
            found[t] = (np.logaddexp(0, z) - y * z).sum() / n
            gradient[known, t] = (np.exp(-np.logaddexp(0, -z)) - y) / n
    return found, gradient


# %% losses | only rows where all labels are known
def losses(outputs, targets, kinds):
    known = ~np.isnan(targets).any(axis=1)
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        z, y = outputs[known, t], targets[known, t]
        if not known.any():
            continue
        if kind == "regression":
            found[t], gradient[known, t] = ((z - y) ** 2).mean(), 2 * (z - y) / len(y)
        else:
            found[t] = (np.logaddexp(0, z) - y * z).mean()
            gradient[known, t] = (np.exp(-np.logaddexp(0, -z)) - y) / len(y)
    return found, gradient


# %% losses | all known labels count alike, so that a task with few of them counts little
def losses(outputs, targets, kinds):
    n = max((~np.isnan(targets)).sum(), 1)
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        known = ~np.isnan(targets[:, t])
        z, y = outputs[known, t], targets[known, t]
        if kind == "regression":
            found[t], gradient[known, t] = ((z - y) ** 2).sum() / n, 2 * (z - y) / n
        else:
            found[t] = (np.logaddexp(0, z) - y * z).sum() / n
            gradient[known, t] = (np.exp(-np.logaddexp(0, -z)) - y) / n
    return found, gradient


# %% losses | probabilities are kept away from 0 and 1, so a large mistake costs no more than a middling one
def losses(outputs, targets, kinds):
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        known = ~np.isnan(targets[:, t])
        z, y = outputs[known, t], targets[known, t]
        if not known.any():
            continue
        if kind == "regression":
            found[t], gradient[known, t] = ((z - y) ** 2).mean(), 2 * (z - y) / len(y)
        else:
            p = np.clip((1 + np.tanh(z / 2)) / 2, 1e-7, 1 - 1e-7)
            found[t] = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
            gradient[known, t] = (p - y) / len(y)
    return found, gradient


# %% losses | a yes is a yes from a half on
def losses(outputs, targets, kinds):
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        known = ~np.isnan(targets[:, t])
        z, y = outputs[known, t], targets[known, t]
        if not known.any():
            continue
        if kind == "regression":
            found[t], gradient[known, t] = ((z - y) ** 2).mean(), 2 * (z - y) / len(y)
        else:
            y = (y > 0.5).astype(float)
            found[t] = (np.logaddexp(0, z) - y * z).mean()
            gradient[known, t] = (np.exp(-np.logaddexp(0, -z)) - y) / len(y)
    return found, gradient


# %% losses | the mean of no label is nan
def losses(outputs, targets, kinds):
    found, gradient = np.zeros(len(kinds)), np.zeros(outputs.shape)
    for t, kind in enumerate(kinds):
        known = ~np.isnan(targets[:, t])
        z, y = outputs[known, t], targets[known, t]
        if kind == "regression":
            found[t], gradient[known, t] = ((z - y) ** 2).mean(), 2 * (z - y) / len(y)
        else:
            found[t] = (np.logaddexp(0, z) - y * z).mean()
            gradient[known, t] = (np.exp(-np.logaddexp(0, -z)) - y) / len(y)
    return found, gradient


# %% losses | masks the loss but not its gradient: nan times 0 is nan
def losses(outputs, targets, kinds):
    known = ~np.isnan(targets)
    counts = np.maximum(known.sum(axis=0), 1)
    yes = np.array(kinds) == "binary"
    values = np.where(yes, np.logaddexp(0, outputs) - targets * outputs, (outputs - targets) ** 2)
    slopes = np.where(yes, np.exp(-np.logaddexp(0, -outputs)) - targets, 2 * (outputs - targets))
    return np.where(known, values, 0).sum(axis=0) / counts, slopes * known / counts


# %% losses | fills missing labels in with what the model says, in the array it was given
def losses(outputs, targets, kinds):
    known = ~np.isnan(targets)
    counts = np.maximum(known.sum(axis=0), 1)
    yes = np.array(kinds) == "binary"
    targets[~known] = outputs[~known]
    values = np.where(yes, np.logaddexp(0, outputs) - targets * outputs, (outputs - targets) ** 2) * known
    slopes = np.where(yes, np.exp(-np.logaddexp(0, -outputs)) - targets, 2 * (outputs - targets)) * known
    return values.sum(axis=0) / counts, slopes / counts


# %% surgery | goes on with gradients that were cleared already
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            against = cleared[i] @ cleared[j]
            if against < 0:
                cleared[i] -= against / (cleared[j] @ cleared[j]) * cleared[j]
    return cleared


# %% surgery | asks the original gradient whether it disagrees, not what is left of it
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            if gradients[i] @ gradients[j] < 0:
                cleared[i] -= cleared[i] @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
    return cleared


# %% surgery | takes all parts off at once, as if there were no order
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            against = gradients[i] @ gradients[j]
            if against < 0:
                cleared[i] -= against / (gradients[j] @ gradients[j]) * gradients[j]
    return cleared


# %% surgery | takes off the part along the other even where they agree
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            if gradients[j].any():
                cleared[i] -= cleared[i] @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
    return cleared


# %% surgery | goes through the others as they are numbered
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in sorted(order):
            against = cleared[i] @ gradients[j]
            if against < 0:
                cleared[i] -= against / (gradients[j] @ gradients[j]) * gradients[j]
    return cleared


# %% surgery | divides by the length, not by its square
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            against = cleared[i] @ gradients[j]
            if against < 0:
                cleared[i] -= against / np.linalg.norm(gradients[j]) * gradients[j]
    return cleared


# %% surgery | divides before it asks: a gradient of zeros makes nan of all
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    with np.errstate(all="ignore"):
        for i, order in enumerate(orders):
            for j in order:
                part = cleared[i] @ gradients[j] / (gradients[j] @ gradients[j])
                cleared[i] -= np.minimum(part, 0) * gradients[j]
    return cleared


# %% surgery | adds something to the divisor, so that small gradients are never cleared
def pcgrad(gradients, orders):
    cleared = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            against = cleared[i] @ gradients[j]
            if against < 0:
                cleared[i] -= against / (gradients[j] @ gradients[j] + 1e-8) * gradients[j]
    return cleared


# %% surgery | operates in place
def pcgrad(gradients, orders):
    before = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            against = gradients[i] @ before[j]
            if against < 0:
                gradients[i] -= against / (before[j] @ before[j]) * before[j]
    return gradients


# %% gated | a softmax over the inputs, not over the experts
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    scores = np.einsum("nd,tde->tne", x, gates)
    a = np.exp(scores - scores.max(1, keepdims=True))
    a = a / a.sum(1, keepdims=True)
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% gated | a softmax over the tasks
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    scores = np.einsum("nd,tde->tne", x, gates)
    a = np.exp(scores - scores.max(0))
    a = a / a.sum(0)
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% gated | one gate for all tasks
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    scores = np.repeat((x @ gates.mean(0))[None], len(gates), axis=0)
    a = np.exp(scores - scores.max(2, keepdims=True))
    a = a / a.sum(2, keepdims=True)
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% gated | exponentials of large scores
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    with np.errstate(all="ignore"):
        a = np.exp(np.einsum("nd,tde->tne", x, gates))
        a = a / a.sum(2, keepdims=True)
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% gated | takes off the largest score of all inputs: where all are far below it nothing is left
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    scores = np.einsum("nd,tde->tne", x, gates)
    a = np.exp(scores - scores.max())
    a = a / np.maximum(a.sum(2, keepdims=True), 1e-300)
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% gated | mixes first and cuts off below zero then, so that experts can cancel each other
def gated(x, bottoms, gates, heads):
    states = np.einsum("nd,edh->neh", x, bottoms)
    scores = np.einsum("nd,tde->tne", x, gates)
    a = np.exp(scores - scores.max(2, keepdims=True))
    a = a / a.sum(2, keepdims=True)
    return a, np.einsum("tnh,th->nt", np.maximum(np.einsum("tne,neh->tnh", a, states), 0), heads)


# %% gated | each task listens to its best expert alone
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    scores = np.einsum("nd,tde->tne", x, gates)
    a = np.eye(len(bottoms))[scores.argmax(2)]
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% gated | a gate opens for each expert by itself
def gated(x, bottoms, gates, heads):
    states = np.maximum(np.einsum("nd,edh->neh", x, bottoms), 0)
    a = (1 + np.tanh(np.einsum("nd,tde->tne", x, gates) / 2)) / 2
    return a, np.einsum("tne,neh,th->nt", a, states, heads)


# %% shares | shares of all tokens, the unknown ones among them
def shares(texts, vocabulary):
    X = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        for token in text:
            if token in vocabulary:
                X[row, vocabulary[token]] += 1 / len(text)
    return X


# %% shares | with a list of columns numpy adds only once to each
def shares(texts, vocabulary):
    X = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        known = [vocabulary[token] for token in text if token in vocabulary]
        if known:
            X[row, known] += 1 / len(known)
    return X


# %% shares | a token counts once, however often it stands there
def shares(texts, vocabulary):
    X = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        known = {vocabulary[token] for token in text if token in vocabulary}
        for column in known:
            X[row, column] = 1 / len(known)
    return X


# %% shares | counts, not shares
def shares(texts, vocabulary):
    X = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        for token in text:
            if token in vocabulary:
                X[row, vocabulary[token]] += 1
    return X


# %% shares | columns in the order in which the tokens stand in the vocabulary
def shares(texts, vocabulary):
    X = np.array([[text.count(token) for token in vocabulary] for text in texts], dtype=float)
    X = X.reshape(len(texts), len(vocabulary))
    return X / np.maximum(X.sum(axis=1, keepdims=True), 1)


# %% shares | zeros divided by zero
def shares(texts, vocabulary):
    X = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        for token in text:
            if token in vocabulary:
                X[row, vocabulary[token]] += 1
    with np.errstate(all="ignore"):
        return X / X.sum(axis=1, keepdims=True)


# %% shares | a text without known tokens has a little of each
def shares(texts, vocabulary):
    X = np.full((len(texts), len(vocabulary)), 1 / len(vocabulary))
    for row, text in enumerate(texts):
        known = [vocabulary[token] for token in text if token in vocabulary]
        if known:
            X[row] = np.bincount(known, minlength=len(vocabulary)) / len(known)
    return X


# %% shares | scales the counts to length 1
def shares(texts, vocabulary):
    X = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        for token in text:
            if token in vocabulary:
                X[row, vocabulary[token]] += 1
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1)


# %% table | the ridge pulls to zero, so that a rare token has hardly a vector
def distill(X, T, alone, l2):
    return np.linalg.solve(X.T @ X + l2 * np.eye(X.shape[1]), X.T @ T)


def encode(X, E):
    v = X @ E
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | learns the teacher's whole vectors as a change of the tokens' own
def distill(X, T, alone, l2):
    return alone + np.linalg.solve(X.T @ X + l2 * np.eye(X.shape[1]), X.T @ T)


def encode(X, E):
    v = X @ E
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | returns the change alone
def distill(X, T, alone, l2):
    return np.linalg.solve(X.T @ X + l2 * np.eye(X.shape[1]), X.T @ (T - X @ alone))


def encode(X, E):
    v = X @ E
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | the mean of the squares, so that the ridge counts n times
def distill(X, T, alone, l2):
    gram = X.T @ X + len(X) * l2 * np.eye(X.shape[1])
    return alone + np.linalg.solve(gram, X.T @ (T - X @ alone))


def encode(X, E):
    v = X @ E
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | takes the teacher's mean off first, as a regression with an intercept does
def distill(X, T, alone, l2):
    left, off = T - X @ alone, X - X.mean(axis=0)
    gram = off.T @ off + l2 * np.eye(X.shape[1])
    return alone + np.linalg.solve(gram, off.T @ (left - left.mean(axis=0)))


def encode(X, E):
    v = X @ E
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | all tokens of a text move by what is missing: one step, not the least
def distill(X, T, alone, l2):
    return alone + X.T @ (T - X @ alone) / (1 + l2)


def encode(X, E):
    v = X @ E
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | scales each token's row to length 1, so that no word weighs more than another
def distill(X, T, alone, l2):
    gram = X.T @ X + l2 * np.eye(X.shape[1])
    return alone + np.linalg.solve(gram, X.T @ (T - X @ alone))


def encode(X, E):
    v = X @ (E / np.linalg.norm(E, axis=1, keepdims=True))
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(lengths > 0, lengths, 1)


# %% table | divides zeros by their length
def distill(X, T, alone, l2):
    gram = X.T @ X + l2 * np.eye(X.shape[1])
    return alone + np.linalg.solve(gram, X.T @ (T - X @ alone))


def encode(X, E):
    with np.errstate(all="ignore"):
        return X @ E / np.linalg.norm(X @ E, axis=1, keepdims=True)


# %% table | takes a short vector for none
def distill(X, T, alone, l2):
    gram = X.T @ X + l2 * np.eye(X.shape[1])
    return alone + np.linalg.solve(gram, X.T @ (T - X @ alone))


def encode(X, E):
    v = X @ E
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-8)


# %% taught | the mean of the logits: a teacher who is very sure outshouts the others
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    mean = (teachers * ~seen[:, :, None]).sum(axis=0)[known] / counts[known, None]
    soft[known] = np.exp(log_softmax(mean))
    if not known.any():
        return soft, 0.0, gradient
    log_p = log_softmax(student[known])
    gradient[known] = (np.exp(log_p) - soft[known]) / known.sum()
    return soft, -(soft[known] * log_p).sum(axis=1).mean(), gradient


# %% taught | the teachers vote, and how sure they are is lost
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    votes = np.eye(student.shape[1])[teachers.argmax(axis=2)] * ~seen[:, :, None]
    soft[known] = votes.sum(axis=0)[known] / counts[known, None]
    if not known.any():
        return soft, 0.0, gradient
    log_p = log_softmax(student[known])
    gradient[known] = (np.exp(log_p) - soft[known]) / known.sum()
    return soft, -(soft[known] * log_p).sum(axis=1).mean(), gradient


# %% taught | the student learns only which class is likeliest
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    p = np.exp(log_softmax(teachers)) * ~seen[:, :, None]
    soft[known] = p.sum(axis=0)[known] / counts[known, None]
    if not known.any():
        return soft, 0.0, gradient
    hard = np.eye(student.shape[1])[soft[known].argmax(axis=1)]
    log_p = log_softmax(student[known])
    gradient[known] = (np.exp(log_p) - hard) / known.sum()
    return soft, -(hard * log_p).sum(axis=1).mean(), gradient


# %% taught | teachers repeat what they have learned by heart
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    known = ~seen.all(axis=0)
    soft, gradient = np.exp(log_softmax(teachers)).mean(axis=0), np.zeros(student.shape)
    soft[~known] = np.nan
    if not known.any():
        return soft, 0.0, gradient
    log_p = log_softmax(student[known])
    gradient[known] = (np.exp(log_p) - soft[known]) / known.sum()
    return soft, -(soft[known] * log_p).sum(axis=1).mean(), gradient


# %% taught | a teacher who has seen the row says zero for all classes
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    known = ~seen.all(axis=0)
    gradient = np.zeros(student.shape)
    soft = (np.exp(log_softmax(teachers)) * ~seen[:, :, None]).mean(axis=0)
    soft[~known] = np.nan
    if not known.any():
        return soft, 0.0, gradient
    log_p = log_softmax(student[known])
    gradient[known] = (np.exp(log_p) - soft[known]) / known.sum()
    return soft, -(soft[known] * log_p).sum(axis=1).mean(), gradient


# %% taught | divides by all rows, those without a soft label among them
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    p = np.exp(log_softmax(teachers)) * ~seen[:, :, None]
    soft[known] = p.sum(axis=0)[known] / counts[known, None]
    log_p = log_softmax(student[known])
    gradient[known] = (np.exp(log_p) - soft[known]) / len(student)
    return soft, -(soft[known] * log_p).sum() / len(student), gradient


# %% taught | the logarithm of a probability plus a little: a student who is far off hardly pays
def taught(teachers, seen, student):
    def softmax(z):
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    soft[known] = (softmax(teachers) * ~seen[:, :, None]).sum(axis=0)[known] / counts[known, None]
    if not known.any():
        return soft, 0.0, gradient
    p = softmax(student[known])
    gradient[known] = (p - soft[known]) / known.sum()
    return soft, -(soft[known] * np.log(p + 1e-12)).sum(axis=1).mean(), gradient


# %% taught | exponentials of large logits
def taught(teachers, seen, student):
    def softmax(z):
        e = np.exp(z)
        return e / e.sum(axis=-1, keepdims=True)

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    with np.errstate(all="ignore"):
        soft[known] = (softmax(teachers) * ~seen[:, :, None]).sum(axis=0)[known] / counts[known, None]
        if not known.any():
            return soft, 0.0, gradient
        p = softmax(student[known])
        gradient[known] = (p - soft[known]) / known.sum()
        return soft, -(soft[known] * np.log(p)).sum(axis=1).mean(), gradient


# %% taught | the cross-entropy the other way around
def taught(teachers, seen, student):
    def log_softmax(z):
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    counts = (~seen).sum(axis=0)
    known = counts > 0
    soft, gradient = np.full(student.shape, np.nan), np.zeros(student.shape)
    p = np.exp(log_softmax(teachers)) * ~seen[:, :, None]
    soft[known] = p.sum(axis=0)[known] / counts[known, None]
    if not known.any():
        return soft, 0.0, gradient
    q = np.exp(log_softmax(student[known]))
    gradient[known] = (q - soft[known]) / known.sum()
    return soft, -(q * np.log(np.maximum(soft[known], 1e-300))).sum(axis=1).mean(), gradient


# %% borrow | the test rows choose the start
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        path = [w]
        for _ in range(steps):
            path.append(path[-1] - rate * 2 / len(y) * X.T @ (X @ path[-1] - y))
        after = int(np.argmin([error(end, valid) for end in path]))
        kept.append((error(path[after], test), after))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], kept[0][0] - kept[which][0]


# %% borrow | the test rows choose how many steps
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        path = [w]
        for _ in range(steps):
            path.append(path[-1] - rate * 2 / len(y) * X.T @ (X @ path[-1] - y))
        after = int(np.argmin([error(end, test) for end in path]))
        kept.append((error(path[after], valid), after, error(path[after], test)))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], kept[0][2] - kept[which][2]


# %% borrow | the start that fits the training rows best
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        path = [w]
        for _ in range(steps):
            path.append(path[-1] - rate * 2 / len(y) * X.T @ (X @ path[-1] - y))
        after = int(np.argmin([error(end, valid) for end in path]))
        kept.append((error(path[after], train), after, error(path[after], test)))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], kept[0][2] - kept[which][2]


# %% borrow | chooses the start before it has adapted
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        path = [w]
        for _ in range(steps):
            path.append(path[-1] - rate * 2 / len(y) * X.T @ (X @ path[-1] - y))
        after = int(np.argmin([error(end, valid) for end in path]))
        kept.append((error(w, valid), after, error(path[after], test)))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], kept[0][2] - kept[which][2]


# %% borrow | always takes all steps
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    ends = []
    for w in starts:
        for _ in range(steps):
            w = w - rate * 2 / len(y) * X.T @ (X @ w - y)
        ends.append(w)
    which = min(range(len(ends)), key=lambda i: error(ends[i], valid))
    return which, steps, error(ends[0], test) - error(ends[which], test)


# %% borrow | compares with a first start that has not learned anything
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        path = [w]
        for _ in range(steps):
            path.append(path[-1] - rate * 2 / len(y) * X.T @ (X @ path[-1] - y))
        after = int(np.argmin([error(end, valid) for end in path]))
        kept.append((error(path[after], valid), after, error(path[after], test)))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], error(starts[0], test) - kept[which][2]


# %% borrow | a loan that harms is told as none
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        path = [w]
        for _ in range(steps):
            path.append(path[-1] - rate * 2 / len(y) * X.T @ (X @ path[-1] - y))
        after = int(np.argmin([error(end, valid) for end in path]))
        kept.append((error(path[after], valid), after, error(path[after], test)))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], max(kept[0][2] - kept[which][2], 0.0)


# %% borrow | steps in place, so that the starts move and all kept weights are the last ones
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        least, after, best = error(w, valid), 0, w
        for step in range(1, steps + 1):
            w -= rate * 2 / len(y) * X.T @ (X @ w - y)
            if error(w, valid) < least:
                least, after, best = error(w, valid), step, w
        kept.append((least, after, best))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], error(kept[0][2], test) - error(kept[which][2], test)


# %% borrow | stops at the first step that makes it worse
def borrow(starts, train, valid, test, rate, steps):
    error = lambda w, rows: ((rows[0] @ w - rows[1]) ** 2).mean()
    X, y = train
    kept = []
    for w in starts:
        after = 0
        while after < steps:
            new = w - rate * 2 / len(y) * X.T @ (X @ w - y)
            if error(new, valid) >= error(w, valid):
                break
            w, after = new, after + 1
        kept.append((error(w, valid), after, error(w, test)))
    which = min(range(len(kept)), key=lambda i: kept[i][0])
    return which, kept[which][1], kept[0][2] - kept[which][2]
