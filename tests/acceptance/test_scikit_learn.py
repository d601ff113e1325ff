"""scikit-learn on taskflow's workers gives what it gives in one process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config

import taskflow.contrib.joblib  # noqa: F401 - registers the backend
from taskflow import Client

pytest.importorskip("sklearn")

from sklearn import config_context, get_config
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.parallel import Parallel, delayed


@pytest.fixture(scope="module")
def cancer() -> tuple[Any, Any]:
    data: tuple[Any, Any] = load_breast_cancer(return_X_y=True)
    return data


@pytest.fixture
def on_workers(client: Client) -> Iterator[Client]:
    with parallel_config("taskflow", client=client):
        yield client


def same(there: Any, here: Any) -> bool:
    """Whether the results of two searches are equal, apart from the times."""
    assert there.keys() == here.keys()
    names = [name for name in here if "time" not in name]
    for name in names:
        np.testing.assert_array_equal(there[name], here[name])
    return len(names) > 0


def searches() -> dict[str, Callable[[], Any]]:
    tree = DecisionTreeClassifier(random_state=1)
    return {
        "grid": lambda: GridSearchCV(tree, {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 4]}, cv=4),
        "pipeline": lambda: GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}
        ),
        "random": lambda: RandomizedSearchCV(
            tree, {"max_depth": range(1, 9), "min_samples_leaf": range(1, 9)}, n_iter=6, random_state=5
        ),
    }


@pytest.mark.parametrize("name", list(searches()))
def test_a_search_finds_the_same(name: str, client: Client, cancer: tuple[Any, Any]) -> None:
    here = searches()[name]().fit(*cancer)

    with parallel_config("taskflow", client=client):
        there = searches()[name]().fit(*cancer)

    assert same(there.cv_results_, here.cv_results_)
    assert (there.best_params_, there.best_score_) == (here.best_params_, here.best_score_)


def test_cross_validation_gives_the_same_scores(client: Client, cancer: tuple[Any, Any]) -> None:
    def scores() -> tuple[Any, Any]:
        tree = DecisionTreeClassifier(random_state=1)
        return cross_val_score(tree, *cancer, cv=6), cross_validate(
            tree, *cancer, scoring=["accuracy", "roc_auc"], return_train_score=True, return_indices=True
        )["test_roc_auc"]

    here = scores()
    with parallel_config("taskflow", client=client):
        there = scores()

    for some, others in zip(there, here, strict=True):
        np.testing.assert_array_equal(some, others)


def test_forests_and_bags_are_the_same(client: Client, cancer: tuple[Any, Any]) -> None:
    def forests(jobs: int | None) -> list[Any]:
        how: Any = {"n_estimators": 12, "random_state": 3, "n_jobs": jobs}
        data, target = load_diabetes(return_X_y=True)
        return [
            RandomForestClassifier(**how).fit(*cancer).predict_proba(cancer[0]),
            RandomForestRegressor(**how).fit(data, target).predict(data),
            BaggingClassifier(**how).fit(*cancer).predict_proba(cancer[0]),
        ]

    here = forests(None)
    with parallel_config("taskflow", client=client):
        there = forests(2)

    for some, others in zip(there, here, strict=True):
        np.testing.assert_array_equal(some, others)


def test_what_needs_shared_memory_runs_in_threads_here(on_workers: Client) -> None:
    found = Parallel(n_jobs=2, require="sharedmem")(delayed(os.getpid)() for _ in range(4))

    assert set(found) == {os.getpid()}


def test_the_configuration_of_scikit_learn_goes_along(on_workers: Client) -> None:
    with config_context(assume_finite=True, working_memory=77):
        found = Parallel(n_jobs=2)(delayed(get_config)() for _ in range(3))

    assert [(config["assume_finite"], config["working_memory"]) for config in found] == [(True, 77)] * 3


def test_a_fit_that_fails_is_told_as_scikit_learn_tells_it(
    on_workers: Client, cancer: tuple[Any, Any]
) -> None:
    search = GridSearchCV(Ridge(), {"alpha": [1.0, -1.0]}, cv=2)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        search.fit(*cancer)

    assert [w.category for w in told if issubclass(w.category, FitFailedWarning)] == [FitFailedWarning]
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        GridSearchCV(Ridge(), {"alpha": [-1.0]}, cv=2).fit(*cancer)
    with pytest.raises(ValueError, match="'alpha'"):
        GridSearchCV(Ridge(), {"alpha": [-1.0]}, cv=2, error_score="raise").fit(*cancer)


def test_a_dataframe_is_stored_once_for_all_fits(on_workers: Client, cancer: tuple[Any, Any]) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(cancer[0], columns=[f"x{n}" for n in range(cancer[0].shape[1])])

    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}, cv=3)

    assert list(search.fit(frame, cancer[1]).feature_names_in_) == list(frame.columns)
