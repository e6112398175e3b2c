"""The study of Part III: settings are chosen on validation users, errors are kept on others."""

from types import SimpleNamespace

import numpy as np
import pytest

from book.experiments import study as study_module
from book.experiments.study import Study
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
