# %% clean | keeps the latest row of the file instead of the latest by time
def clean(log):
    valid = log[log["rating"].between(1, 5)]
    return valid.drop_duplicates(["user_id", "item_id"], keep="last").reset_index(drop=True)


# %% clean | keeps the latest rating before it drops invalid ones, and forgets the fresh index
def clean(log):
    latest = log.sort_values("timestamp").drop_duplicates(["user_id", "item_id"], keep="last")
    return latest[latest["rating"].between(1, 5)]


# %% clean | takes the scale to be open at its ends
def clean(log):
    valid = log[(log["rating"] > 1) & (log["rating"] < 5)]
    latest = valid.sort_values("timestamp").drop_duplicates(["user_id", "item_id"], keep="last")
    return latest.sort_index().reset_index(drop=True)


# %% head-share | does not sort
def head_share(counts, share):
    held = counts.cumsum()
    return (int((held < share * held[-1]).sum()) + 1) / len(counts)


# %% head-share | returns the number of items, not their share
def head_share(counts, share):
    held = np.sort(counts)[::-1].cumsum()
    return int((held < share * held[-1]).sum()) + 1


# %% head-share | off by one: counts the items that stay below the share
def head_share(counts, share):
    held = np.sort(counts)[::-1].cumsum()
    return int((held <= share * held[-1]).sum()) / len(counts)


# %% in-test | takes the end of the file, whatever the time
def in_test(timestamps, share):
    mask = np.zeros(len(timestamps), dtype=bool)
    mask[len(mask) - round(share * len(mask)) :] = True
    return mask


# %% in-test | a quantile as the border puts all ties on one side
def in_test(timestamps, share):
    return timestamps > np.quantile(timestamps, 1 - share)


# %% in-test | slices with a minus sign, which takes everything when nothing is wanted
def in_test(timestamps, share):
    order = np.argsort(timestamps, kind="stable")
    mask = np.zeros(len(timestamps), dtype=bool)
    mask[order[-round(share * len(order)) :]] = True
    return mask


# %% mean-leak | counts the same moment as the future
def mean_leak(timestamps, test):
    later = timestamps[~test][None, :] >= timestamps[test][:, None]
    return float(later.mean())


# %% mean-leak | measures how much of training lies before
def mean_leak(timestamps, test):
    earlier = timestamps[~test][None, :] < timestamps[test][:, None]
    return float(earlier.mean())


# %% mean-leak | asks whether anything leaks instead of how much
def mean_leak(timestamps, test):
    return float((timestamps[~test].max() > timestamps[test]).mean())


# %% popular | counts ratings instead of users
def popular(log, user_id, k):
    counts = log["item_id"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    seen = set(log["item_id"][log["user_id"] == user_id])
    return [int(item) for item in counts.index if item not in seen][:k]


# %% popular | cuts to k before it removes what was seen
def popular(log, user_id, k):
    n_users = log.groupby("item_id")["user_id"].nunique().sort_values(ascending=False, kind="stable")
    seen = set(log["item_id"][log["user_id"] == user_id])
    return [int(item) for item in n_users.index[:k] if item not in seen]


# %% popular | shows what the user has met already
def popular(log, user_id, k):
    n_users = log.groupby("item_id")["user_id"].nunique().sort_values(ascending=False, kind="stable")
    return [int(item) for item in n_users.index[:k]]
