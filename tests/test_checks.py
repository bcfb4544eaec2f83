import numpy as np
import pytest

from keras_sae._checks import check_integer, check_number, nearest


@pytest.mark.parametrize("value", [True, 2.0, "2", None, 0, 6])
def test_what_is_no_integer_in_range_is_named(value):
    message = rf"`k` counts the active units and must be an integer of at least 1 and at most 5. Received: k={value!r}."
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        check_integer("k", value, "counts the active units", at_most=5)


def test_integers_of_numpy_become_integers_of_python():
    assert type(check_integer("k", np.int64(5), "counts the active units", at_most=5)) is int


@pytest.mark.parametrize("value", [True, "0.5", None, float("nan"), float("inf"), 0, -1, 1])
def test_what_is_no_number_in_range_is_named(value):
    message = rf"`rate` is a share and must be a finite number above 0 and below 1\. Received: rate={value!r}"
    with pytest.raises(ValueError, match=message):
        check_number("rate", value, "is a share", above=0, below=1)


def test_bounds_that_are_allowed_pass():
    assert check_number("rate", 0, "is a share", at_least=0, at_most=1) == 0.0
    assert check_number("rate", np.float32(1), "is a share", at_least=0, at_most=1) == 1.0


def test_a_misspelled_name_gets_a_hint():
    assert nearest("sparcity", ["sparsity", "code_units"]) == "Did you mean 'sparsity'? "
    assert nearest("zzz", ["sparsity"]) == ""
