import numpy as np
import pytest

from keras_sae.evaluation import support_overlap


def test_by_hand():
    codes = np.array([[1, -2, 0, 0], [3, 0, 0, 0], [0, 5, 6, 0], [0, 0, 0, 0]])
    result = support_overlap(codes, np.array([4, 4, 9, 9]))
    # Within: {0,1} and {0} share 1 of 2; {1,2} and {} share none. Between: {0,1} and {1,2} share 1 of 3, the others none.
    assert result == pytest.approx({"within": 0.25, "between": (1 / 3) / 4})


def test_maps_are_flattened_and_missing_pairs_are_none():
    codes = np.ones((3, 2, 2, 2))
    assert support_overlap(codes, np.zeros(3)) == {"within": 1.0, "between": None}
    assert support_overlap(codes[:1], np.zeros(1)) == {"within": None, "between": None}
    assert support_overlap(codes[:0], np.zeros(0)) == {"within": None, "between": None}


def test_one_label_for_each_code():
    with pytest.raises(ValueError, match=r"\(3, 2\) and labels of shape \(2,\)"):
        support_overlap(np.ones((3, 2)), np.zeros(2))
