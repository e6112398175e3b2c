# %% bce | the formula as printed, which overflows
def bce(scores, y):
    p = torch.sigmoid(scores)
    return (-y * torch.log(p) - (1 - y) * torch.log(1 - p)).mean()


# %% bce | clips probabilities, and with them the loss
def bce(scores, y):
    p = torch.sigmoid(scores).clamp(1e-6, 1 - 1e-6)
    return (-y * torch.log(p) - (1 - y) * torch.log(1 - p)).mean()


# %% bce | leaves out the negatives
def bce(scores, y):
    return (y * (torch.log1p(torch.exp(-scores.abs())) + (-scores).clamp(min=0))).mean()


# %% ce | a softmax that overflows
def ce(scores, items):
    p = torch.exp(scores) / torch.exp(scores).sum(dim=1, keepdim=True)
    return -torch.log(p[torch.arange(len(items)), items]).mean()


# %% ce | normalizes over the rows of the batch instead of the items
def ce(scores, items):
    return -torch.log_softmax(scores, dim=0)[torch.arange(len(items)), items].mean()


# %% ce | sums instead of averaging
def ce(scores, items):
    return -torch.log_softmax(scores, dim=1)[torch.arange(len(items)), items].sum()


# %% recur | every place starts from zero again
def recur(x, W, U, b):
    return torch.tanh(x @ W.T + b)


# %% recur | forgets the nonlinearity
def recur(x, W, U, b):
    h, states = torch.zeros(len(b)), []
    for step in x:
        h = W @ step + U @ h + b
        states.append(h)
    return torch.stack(states)


# %% recur | multiplies from the wrong side
def recur(x, W, U, b):
    h, states = torch.zeros(len(b)), []
    for step in x:
        h = torch.tanh(W @ step + U.T @ h + b)
        states.append(h)
    return torch.stack(states)


# %% attend | no mask: every place sees the future
def attend(Q, K, V):
    return torch.softmax(Q @ K.T / K.shape[1] ** 0.5, dim=1) @ V


# %% attend | no scaling
def attend(Q, K, V):
    match = Q @ K.T
    ahead = torch.ones_like(match).triu(1).bool()
    return torch.softmax(match.masked_fill(ahead, -torch.inf), dim=1) @ V


# %% attend | sets the weights ahead to zero after the softmax, so that rows no longer add up to one
def attend(Q, K, V):
    weights = torch.softmax(Q @ K.T / K.shape[1] ** 0.5, dim=1)
    return weights.tril() @ V


# %% examples | the target is part of the input
def examples(history, length):
    return [(history[max(0, t - length + 1) : t + 1], history[t]) for t in range(1, len(history))]


# %% examples | only full windows
def examples(history, length):
    return [(history[t - length : t], history[t]) for t in range(length, len(history))]


# %% examples | negative start of the slice takes items from the end
def examples(history, length):
    return [(history[t - length : t], history[t]) for t in range(1, len(history))]


# %% stop | keeps the last pass instead of the best one
def stop(values, patience):
    best = 0
    for now, value in enumerate(values):
        if value > values[best]:
            best = now
        if now - best >= patience:
            break
    return now, now


# %% stop | an equal value counts as better
def stop(values, patience):
    best = 0
    for now, value in enumerate(values):
        if value >= values[best]:
            best = now
        if now - best >= patience:
            break
    return now, best


# %% stop | stops at the first value that is not better than the one before
def stop(values, patience):
    for now in range(1, len(values)):
        if values[now] < values[now - 1]:
            return now, now - 1
    return len(values) - 1, len(values) - 1
