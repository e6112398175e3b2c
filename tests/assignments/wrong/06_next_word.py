# %% count | one mark at the beginning, whatever n is
def count(sentences, n):
    table = {}
    for sentence in sentences:
        marked = ["<s>", *sentence, "</s>"]
        for place in range(n - 1, len(marked)):
            table.setdefault(tuple(marked[place - n + 1 : place]), Counter())[marked[place]] += 1
    return table


# %% count | makes one long text of all sentences
def count(sentences, n):
    table = {}
    marked = [word for sentence in sentences for word in ["<s>"] * (n - 1) + sentence + ["</s>"]]
    for place in range(n - 1, len(marked)):
        table.setdefault(tuple(marked[place - n + 1 : place]), Counter())[marked[place]] += 1
    return table


# %% count | no end, so that sentences never stop
def count(sentences, n):
    table = {}
    for sentence in sentences:
        marked = ["<s>"] * (n - 1) + sentence
        for place in range(n - 1, len(marked)):
            table.setdefault(tuple(marked[place - n + 1 : place]), Counter())[marked[place]] += 1
    return table


# %% add-k | adds k once to the denominator, not once for each word
def add_k(after, vocabulary, k):
    known = dict.fromkeys(vocabulary, 0)
    for word, times in after.items():
        known[word if word in known else "<unk>"] += times
    total = sum(known.values()) + k
    return {word: (times + k) / total if total else 1 / len(vocabulary) for word, times in known.items()}


# %% add-k | drops the unknown words from the numerators only, and the sum is below 1
def add_k(after, vocabulary, k):
    total = sum(after.values()) + k * len(vocabulary)
    return {word: (after.get(word, 0) + k) / total if total else 1 / len(vocabulary) for word in vocabulary}


# %% add-k | forgets that nothing may have been counted
def add_k(after, vocabulary, k):
    known = dict.fromkeys(vocabulary, 0)
    for word, times in after.items():
        known[word if word in known else "<unk>"] += times
    total = sum(known.values()) + k * len(vocabulary)
    return {word: (times + k) / total for word, times in known.items()}


# %% add-k | adds k to the seen words only
def add_k(after, vocabulary, k):
    known = dict.fromkeys(vocabulary, 0)
    for word, times in after.items():
        known[word if word in known else "<unk>"] += times
    total = sum(times + k for times in known.values() if times)
    return {word: (times + k) / total if times else 0.0 for word, times in known.items()}


# %% perplexity | does not count the end as a word
def perplexity(p, sentences):
    logs = []
    for sentence in sentences:
        for context, word in zip(["<s>", *sentence], sentence, strict=False):
            probability = p.get(context, {}).get(word, 0.0)
            if probability == 0:
                return math.inf
            logs.append(math.log(probability))
    return math.exp(-sum(logs) / max(len(logs), 1))


# %% perplexity | the mean of the perplexities of the sentences
def perplexity(p, sentences):
    values = []
    for sentence in sentences:
        logs = []
        for context, word in zip(["<s>", *sentence], [*sentence, "</s>"], strict=True):
            probability = p.get(context, {}).get(word, 0.0)
            if probability == 0:
                return math.inf
            logs.append(math.log(probability))
        values.append(math.exp(-sum(logs) / len(logs)))
    return sum(values) / len(values)


# %% perplexity | multiplies the probabilities, and a long text underflows
def perplexity(p, sentences):
    product, places = 1.0, 0
    for sentence in sentences:
        for context, word in zip(["<s>", *sentence], [*sentence, "</s>"], strict=True):
            product *= p.get(context, {}).get(word, 0.0)
            places += 1
    return product ** (-1 / places) if product else math.inf


# %% perplexity | leaves out what is impossible
def perplexity(p, sentences):
    logs = []
    for sentence in sentences:
        for context, word in zip(["<s>", *sentence], [*sentence, "</s>"], strict=True):
            probability = p.get(context, {}).get(word, 0.0)
            if probability > 0:
                logs.append(math.log(probability))
    return math.exp(-sum(logs) / len(logs)) if logs else math.inf


# %% kneser-ney | counts how often a word was seen, not after how many words
def kneser_ney(pairs, word, context, V, D):
    times = Counter()
    for after in pairs.values():
        times.update(after)
    p = (max(times[word] - D, 0) + D * len(times) / V) / times.total()
    after = pairs.get(context)
    if not after:
        return p
    return (max(after.get(word, 0) - D, 0) + D * len(after) * p) / sum(after.values())


# %% kneser-ney | gives the shorter context its share only where the word was not seen
def kneser_ney(pairs, word, context, V, D):
    places = Counter(w for after in pairs.values() for w in after)
    p = (max(places[word] - D, 0) + D * len(places) / V) / places.total()
    after = pairs.get(context)
    if not after:
        return p
    if word in after:
        return (after[word] - D) / sum(after.values())
    return D * len(after) * p / sum(after.values())


# %% kneser-ney | the shorter context keeps all its mass, and unknown words get nothing
def kneser_ney(pairs, word, context, V, D):
    places = Counter(w for after in pairs.values() for w in after)
    p = places[word] / places.total()
    after = pairs.get(context)
    if not after:
        return p
    return (max(after.get(word, 0) - D, 0) + D * len(after) * p) / sum(after.values())


# %% kneser-ney | takes a discount off words that were not seen, too
def kneser_ney(pairs, word, context, V, D):
    places = Counter(w for after in pairs.values() for w in after)
    p = (places[word] - D + D * len(places) / V) / places.total()
    after = pairs.get(context)
    if not after:
        return p
    return (after.get(word, 0) - D + D * len(after) * p) / sum(after.values())


# %% softmax | the formula as printed, which overflows
def loss_and_gradient(z, word):
    p = np.exp(z) / np.exp(z).sum()
    gradient = p.copy()
    gradient[word] -= 1
    return float(-np.log(p[word])), gradient


# %% softmax | keeps the logarithm finite with a small number
def loss_and_gradient(z, word):
    p = np.exp(z - z.max())
    p = p / p.sum()
    loss = float(-np.log(p[word] + 1e-12))
    p[word] -= 1
    return loss, p


# %% softmax | a sigmoid on top of the softmax
def loss_and_gradient(z, word):
    p = np.exp(z - z.max())
    p = 1 / (1 + np.exp(-p / p.sum()))
    loss = float(-np.log(p[word]))
    p[word] -= 1
    return loss, p


# %% softmax | what came true minus what the model said
def loss_and_gradient(z, word):
    shifted = z - z.max()
    log_p = shifted - np.log(np.exp(shifted).sum())
    return float(-log_p[word]), np.eye(len(z))[word] - np.exp(log_p)


# %% films | recommends what was watched
def recommend(histories, history, k):
    counts = [Counter(), Counter(), Counter()]
    for films in histories:
        for place, film in enumerate(films):
            for length in range(min(place, len(history), 2) + 1):
                if films[place - length : place] == history[len(history) - length :]:
                    counts[length][film] += 1
    return sorted(counts[0], key=lambda film: (-counts[2][film], -counts[1][film], -counts[0][film], film))[:k]


# %% films | history[-0:] is the whole history, not the empty context
def recommend(histories, history, k):
    counts = [Counter(), Counter(), Counter()]
    for films in histories:
        for place, film in enumerate(films):
            for length in range(min(place, len(history), 2) + 1):
                if films[place - length : place] == history[-length:]:
                    counts[length][film] += 1
    unseen = {film for films in histories for film in films} - set(history)
    return sorted(unseen, key=lambda film: (-counts[2][film], -counts[1][film], -counts[0][film], film))[:k]


# %% films | no back-off: only what came after the last film
def recommend(histories, history, k):
    after = Counter(
        films[place]
        for films in histories
        for place in range(1, len(films))
        if films[place - 1 : place] == history[-1:] and films[place] not in history
    )
    return sorted(after, key=lambda film: (-after[film], film))[:k]


# %% films | adds the counts up, so that a frequent film beats one that fits
def recommend(histories, history, k):
    counts = Counter()
    for films in histories:
        for place, film in enumerate(films):
            for length in range(min(place, len(history), 2) + 1):
                if films[place - length : place] == history[len(history) - length :]:
                    counts[film] += 1
    return sorted(set(counts) - set(history), key=lambda film: (-counts[film], film))[:k]
