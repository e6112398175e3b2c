# %% attend | sets weights to zero after the softmax, so that rows no longer add up to one
def attend(Q, K, V, may_look):
    weights = torch.softmax(Q @ K.transpose(-2, -1) / K.shape[-1] ** 0.5, dim=-1)
    return weights.masked_fill(~may_look, 0.0) @ V


# %% attend | divides by the length of the values instead of the keys
def attend(Q, K, V, may_look):
    scores = (Q @ K.transpose(-2, -1) / V.shape[-1] ** 0.5).masked_fill(~may_look, -1e30)
    return torch.softmax(scores, dim=-1).masked_fill(~may_look, 0.0) @ V


# %% attend | a softmax over nothing is not a number
def attend(Q, K, V, may_look):
    scores = Q @ K.transpose(-2, -1) / K.shape[-1] ** 0.5
    return torch.softmax(scores.masked_fill(~may_look, -torch.inf), dim=-1) @ V


# %% attend | the softmax goes over the queries
def attend(Q, K, V, may_look):
    scores = (Q @ K.transpose(-2, -1) / K.shape[-1] ** 0.5).masked_fill(~may_look, -1e30)
    return torch.softmax(scores, dim=-2).masked_fill(~may_look, 0.0) @ V


# %% heads | a reshape without a transpose mixes places and heads, and undoes itself
def split_heads(X, heads):
    n, t, d = X.shape
    return X.reshape(n, heads, t, d // heads)


def merge_heads(Y):
    n, heads, t, c = Y.shape
    return Y.reshape(n, t, heads * c)


# %% heads | deals the numbers out to the heads one by one
def split_heads(X, heads):
    return X.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)


def merge_heads(Y):
    return Y.permute(0, 2, 3, 1).flatten(2)


# %% heads | merges with a reshape alone
def split_heads(X, heads):
    return X.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(Y):
    n, heads, t, c = Y.shape
    return Y.reshape(n, t, heads * c)


# %% heads | view needs a contiguous tensor
def split_heads(X, heads):
    n, t, d = X.shape
    return X.view(n, t, heads, d // heads).transpose(1, 2)


def merge_heads(Y):
    n, heads, t, c = Y.shape
    return Y.transpose(1, 2).view(n, t, heads * c)


# %% groups | repeats the heads in turn: 0, 1, 0, 1 instead of 0, 0, 1, 1
def attend_in_groups(Q, K, V):
    K, V = (part.repeat(len(Q) // len(part), 1, 1) for part in (K, V))
    t, s = Q.shape[1], K.shape[1]
    sees = torch.ones(t, s, dtype=torch.bool).tril(s - t)
    scores = Q @ K.transpose(1, 2) / K.shape[2] ** 0.5
    return torch.softmax(scores.masked_fill(~sees, -torch.inf), dim=2) @ V


# %% groups | a mask that takes the first query to stand at place 1, cache or not
def attend_in_groups(Q, K, V):
    K, V = (part.repeat_interleave(len(Q) // len(part), dim=0) for part in (K, V))
    sees = torch.ones(Q.shape[1], K.shape[1], dtype=torch.bool).tril()
    scores = Q @ K.transpose(1, 2) / K.shape[2] ** 0.5
    return torch.softmax(scores.masked_fill(~sees, -torch.inf), dim=2) @ V


# %% groups | no mask, which is right for a single new token only
def attend_in_groups(Q, K, V):
    K, V = (part.repeat_interleave(len(Q) // len(part), dim=0) for part in (K, V))
    return torch.softmax(Q @ K.transpose(1, 2) / K.shape[2] ** 0.5, dim=2) @ V


# %% groups | one head of keys and values serves all
def attend_in_groups(Q, K, V):
    t, s = Q.shape[1], K.shape[1]
    sees = torch.ones(t, s, dtype=torch.bool).tril(s - t)
    scores = Q @ K[0].T / K.shape[2] ** 0.5
    return torch.softmax(scores.masked_fill(~sees, -torch.inf), dim=2) @ V[0]


# %% think | layer normalization: takes the mean off
def think(x, gain, W_gate, W_up, W_down):
    centered = x - x.mean(dim=-1, keepdim=True)
    y = gain * centered / torch.sqrt(centered.square().mean(dim=-1, keepdim=True) + 1e-5)
    gate = y @ W_gate.T
    return x + (gate * torch.sigmoid(gate) * (y @ W_up.T)) @ W_down.T


# %% think | the switch on the wrong branch
def think(x, gain, W_gate, W_up, W_down):
    y = gain * x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5)
    up = y @ W_up.T
    return x + ((y @ W_gate.T) * up * torch.sigmoid(up)) @ W_down.T


# %% think | adds to the normalized state instead of what came in
def think(x, gain, W_gate, W_up, W_down):
    y = gain * x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5)
    gate = y @ W_gate.T
    return y + (gate * torch.sigmoid(gate) * (y @ W_up.T)) @ W_down.T


# %% think | divides by the length of the vector, the root of the sum and not of the mean
def think(x, gain, W_gate, W_up, W_down):
    y = gain * x / torch.sqrt(x.square().sum(dim=-1, keepdim=True) + 1e-5)
    gate = y @ W_gate.T
    return x + (gate * torch.sigmoid(gate) * (y @ W_up.T)) @ W_down.T


# %% rotate | takes neighbors as pairs
def rotate(x, places, base):
    half = x.shape[-1] // 2
    angles = torch.outer(places, base ** (-torch.arange(half) / half))
    cos, sin, a, b = angles.cos(), angles.sin(), x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


# %% rotate | counts the places from 0, whatever they are
def rotate(x, places, base):
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[-2]), base ** (-torch.arange(half) / half))
    cos, sin, a, b = angles.cos(), angles.sin(), x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


# %% rotate | turns the other way, which no dot product shows
def rotate(x, places, base):
    half = x.shape[-1] // 2
    angles = torch.outer(places, base ** (-torch.arange(half) / half))
    cos, sin, a, b = angles.cos(), angles.sin(), x[..., :half], x[..., half:]
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


# %% rotate | forgets the 2 in the exponent
def rotate(x, places, base):
    half = x.shape[-1] // 2
    angles = torch.outer(places, base ** (-torch.arange(half) / x.shape[-1]))
    cos, sin, a, b = angles.cos(), angles.sin(), x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


# %% next-token | sets the logits of the others to 0, which is no small logit
def next_token(logits, temperature, top_k=None):
    order = logits.argsort(descending=True, stable=True)
    if temperature == 0:
        return F.one_hot(order[0], len(logits)).float()
    logits = logits.clone()
    if top_k is not None:
        logits[order[top_k:]] = 0.0
    return torch.softmax(logits / temperature, dim=0)


# %% next-token | cuts after the softmax, and the rest no longer sums to one
def next_token(logits, temperature, top_k=None):
    order = logits.argsort(descending=True, stable=True)
    if temperature == 0:
        return F.one_hot(order[0], len(logits)).float()
    p = torch.softmax(logits / temperature, dim=0)
    if top_k is not None:
        p[order[top_k:]] = 0.0
    return p


# %% next-token | keeps all that equal the k-th logit
def next_token(logits, temperature, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(), len(logits)).float()
    worst = logits.sort(descending=True).values[min(top_k or len(logits), len(logits)) - 1]
    return torch.softmax(logits.masked_fill(logits < worst, -torch.inf) / temperature, dim=0)


# %% next-token | divides by a temperature of 0
def next_token(logits, temperature, top_k=None):
    kept = logits.argsort(descending=True, stable=True)[:top_k]
    p = torch.zeros(len(logits))
    p[kept] = torch.softmax(logits[kept] / temperature, dim=0)
    return p
