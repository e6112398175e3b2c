"""The study of Part III: settings are chosen on validation users, errors are kept on others."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from book.experiments import study as study_module
from book.experiments.study import Fold, Study, all_cores
from llmrec_lite.data import Dataset
from llmrec_lite.meta.tasks import Task


def test_settings_are_chosen_on_validation_users_only(monkeypatch):
    def constant(value):
        return lambda tasks: np.full((len(tasks), 1), value, float)

    def tasks_of(part, *args):  # validation users say 2, test users 4
        value = {"valid": 2.0, "test": 4.0}[part]
        task_ids = next(users), next(users)
        two = [
            Task(np.zeros((0, 1)), np.zeros(0), np.zeros((1, 1)), np.array([value]), task_id) for task_id in task_ids
        ]
        return dict.fromkeys(study_module.SHOTS, two)

    users = iter(range(8))  # others in each fold

    monkeypatch.setattr(study_module, "nested_tasks", tasks_of)
    study = Study()
    ways = {"three or four": [constant(3), constant(4)], "mean": [constant(3.5)]}
    for fold in range(2):
        study.judge(ways, "valid", "test", SimpleNamespace(), "time", fold)
    assert {c["setting"] for c in study.chosen} == {0}
    rows = {(r["model"], r["k"]): r for r in study.table("mean")}
    assert rows["three or four", 5]["rmse"] == pytest.approx(1.0)  # as chosen, though 4 would be right on test
    assert rows["three or four", 5]["lead over mean"] == pytest.approx(0.5)
    assert rows["mean", 5]["users"] == 4


def test_studies_of_folds_are_joined_in_order():
    studies = [Study(), Study()]
    for number, study in enumerate(studies):
        study.task_ids["time", 3] = [np.array([2 * number, 2 * number + 1])]
        study.errors["time", "a", 3] = [np.full((2, 2), number, float)]
        study.chosen = [{"fold": number}]
    joined = Study.joined(studies)
    assert joined.of_users("time", "a", 3)[0].tolist() == [0, 0, 1, 1]
    assert joined.table("a", folds=slice(1, None))[0]["rmse"] == pytest.approx(1)
    assert [choice["fold"] for choice in joined.chosen] == [0, 1]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    rows = [(u, i, t) for u in range(60) for t, i in enumerate(rng.permutation(70)[: rng.integers(28, 50)])]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).assign(rating=lambda x: 1 + x.index % 5)
    return Dataset.from_frames(log, pd.DataFrame({"item_id": range(70), "genres": "A"}))


@pytest.mark.parametrize("leaking", [False, True])
def test_meta_train_users_are_trained_on_without_their_ratings(data, leaking):
    vectors = np.random.default_rng(1).normal(size=(70, 40))
    fold = Fold.of(data, vectors, 0, leaking=leaking)
    tasks = fold.to_learn("time")[10]
    valid, test = (set(part.user_index) for part in (fold.valid, fold.test))
    ids = {t.task_id for t in tasks}
    assert len(tasks) == len(ids) > 10
    assert not ids & (valid | test)
    same = [np.isin(t.query_x[:, 0], fold.features[:, 0]).all() for t in tasks]
    assert all(same) if leaking else not any(same)
    lengths = [len(t.query_y) for t in tasks]
    assert min(lengths) >= 10
    assert max(lengths) > 10


def test_all_cores_keep_the_order():
    assert all_cores(divmod, [7, 8, 9], [2, 3, 4]) == [(3, 1), (2, 2), (2, 1)]
