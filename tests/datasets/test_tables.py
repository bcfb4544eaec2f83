import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets import _load

pa = pytest.importorskip("pyarrow")

HEADER = "pressure,flow,state\n"


def table(path, text):
    path.write_text(text)
    return str(path)


def test_a_table_is_rows_of_numbers_and_labels(tmp_path):
    path = table(tmp_path / "pumps.csv", HEADER + "1.5,2,worn\n-3,4,good\n1e3,0,good\n")
    rows, labels = datasets.load_table(path, label="state")
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [[1.5, 2], [-3, 4], [1000, 0]])
    assert labels.tolist() == [1, 0, 0]  # good, worn
    rows, labels = datasets.load_table(path, columns=["flow", "pressure"])
    np.testing.assert_array_equal(rows, [[2, 1.5], [4, -3], [0, 1000]])
    assert labels is None


def test_arrays_are_those_of_the_stream(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow", reason="streams are tf.data")
    path = table(tmp_path / "pumps.csv", "flow,state\n" + "".join(f"{row},{row % 3}\n" for row in range(9)))
    for options in ({"label": "state"}, {"window": 2, "stride": 2}):
        streamed = datasets.load_arrays(path, "train[:80%]", **options)
        with monkeypatch.context() as without:
            without.setattr(_load, "has_tensorflow", lambda: False)
            arrays = datasets.load_arrays(path, "train[:80%]", **options)
        np.testing.assert_array_equal(arrays[0], streamed[0])
        assert (arrays[1] is None) == (streamed[1] is None)


def test_parquet_reads_as_csv(tmp_path):
    from pyarrow import parquet

    content = pa.table({"a": [1, 2], "b": [True, False], "c": [0.5, 1.5]})
    parquet.write_table(content, tmp_path / "x.parquet")
    np.testing.assert_array_equal(datasets.load_table(tmp_path / "x.parquet")[0], [[1, 1, 0.5], [2, 0, 1.5]])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"table .*bad.parquet' cannot be read"):
        datasets.load_table(tmp_path / "bad.parquet")


def test_shares_of_a_table_are_drawn_and_stay_in_order(tmp_path):
    path = table(tmp_path / "sorted.csv", "value,kind\n" + "".join(f"{row},{row // 50}\n" for row in range(100)))
    train, kinds = datasets.load_arrays(path, "train[:80%]", label="kind")
    test, _ = datasets.load_arrays(path, "train[80%:]", label="kind")
    assert (len(train), len(test)) == (80, 20)
    assert sorted([*train[:, 0], *test[:, 0]]) == list(range(100))
    assert train[:, 0].tolist() == sorted(train[:, 0])
    assert 30 < kinds.sum() < 50  # of each half of the file


BAD = {
    "A model reads numbers, and 2 of 3 columns .*flow [(]low, high[)]; state [(]good[)].*pandas.get_dummies": (
        HEADER + "1,low,good\n2,high,good\n",
        {},
    ),
    "Values are missing in 2 of 2 columns .*pressure [(]1 of 3[)], flow [(]2 of 3[)].*Fill them": (
        "pressure,flow\n,1\n1,\n2,NaN\n",
        {},
    ),
    "infinite, or too large for float32, in 1 of 2 columns.*flow [(]1 of 1[)]": ("pressure,flow\n1,1e60\n", {}),
    "begins with numbers: 1.5, 2.*Add a first row with names": ("1.5,2\n3,4\n", {}),
    "has no rows. Its columns are a, b": ("a,b\n", {}),
    "several named a. Rename": ("a,a\n1,2\n", {}),
    "cannot be read: .*": ("a,b\n1,2\n1\n", {}),
    "Empty CSV": ("", {}),
    "has no column 'stat'. Did you mean 'state'": (HEADER + "1,2,3\n", {"label": "stat"}),
    "has no column 'x'": (HEADER + "1,2,3\n", {"columns": ["x"]}),
    "`columns` is the list": (HEADER + "1,2,3\n", {"columns": "flow"}),
    "'state' is named in `columns` too": (HEADER + "1,2,3\n", {"columns": ["flow", "state"], "label": "state"}),
    "1 of 2 rows .* have no value of 'state'": ("flow,state\n1,2\n1,\n", {"label": "state"}),
    "'image_size' does not apply to a table.*columns, label": (HEADER + "1,2,3\n", {"image_size": [2, 2]}),
}


@pytest.mark.parametrize("message", BAD)
def test_tables_that_cannot_be_used_are_refused(tmp_path, message):
    text, options = BAD[message]
    with pytest.raises(ValueError, match=message):
        datasets.load_arrays(table(tmp_path / "x.csv", text), "train", **options)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file 'pumps.csv', neither here nor in "):
        datasets.load_arrays("pumps.csv", "train", tmp_path)


def test_windows_are_cut_by_hand(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0))
    windows = datasets.load_series(tmp_path / "x.npy", window=3, stride=2)
    assert windows.shape == (4, 3, 1)
    assert windows[..., 0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8]]
    path = table(tmp_path / "x.csv", "a,b\n1,2\n3,4\n5,6\n")
    assert datasets.load_series(path, window=2).tolist() == [[[1, 2], [3, 4]], [[3, 4], [5, 6]]]
    assert datasets.load_series(path, window=3, columns=["b"]).tolist() == [[[2], [4], [6]]]


def test_no_window_crosses_the_border_of_a_split(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(100.0))
    train, _ = datasets.load_arrays(str(tmp_path / "x.npy"), "train[:70%]", window=8, stride=3)
    test, _ = datasets.load_arrays(str(tmp_path / "x.npy"), "train[70%:]", window=8, stride=3)
    assert train.max() < 70
    assert test.min() == 70
    pytest.importorskip("tensorflow", reason="streams are tf.data")
    streamed = list(datasets.load(str(tmp_path / "x.npy"), "train[70%:]", shuffle=False, window=8, stride=3))
    np.testing.assert_array_equal(streamed, test)


def test_series_that_cannot_be_used_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0))
    np.save(tmp_path / "nan.npy", np.array([[0, np.nan], [np.nan, np.inf]]))
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    (tmp_path / "torn.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-9])
    for file, options, message in (
        ("x.npy", {}, "Give `window`, the time steps of each"),
        ("x.npy", {"window": 0}, "`window` is the number of time steps of a window .* at least 1"),
        ("x.npy", {"window": 2, "stride": 0}, "`stride`"),
        ("x.npy", {"window": 11}, "A window has 11 time steps, and the part 'train' .* has 10. Choose a shorter `window`"),
        ("x.npy", {"window": 2, "columns": ["a"]}, "is an array. Leave it out"),
        ("nan.npy", {"window": 2}, r"counted by channel: 0 \(1\), 1 \(2\)"),
        ("cube.npy", {"window": 2}, r"shape \(steps,\) or \(steps, channels\). Received: shape \(2, 2, 2\)"),
        ("torn.npy", {"window": 2}, "is not complete"),
    ):
        with pytest.raises(ValueError, match=message):
            datasets.load_arrays(str(tmp_path / file), "train", **options)
