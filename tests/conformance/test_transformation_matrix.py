"""The matrix of transformations, see `transformations.py`: a slice of it by default, all of it by `pytest -m exhaustive`."""

import re
import warnings

import numpy as np
import pytest
from transformations import CASES, CHANGES, EXPORTS, KEEPING, NAMES, PAGE, REFUSED, Trial, combinations, outcome, rows

ALL = {case: [row for name, row in combinations() if name == case] for case in CASES}
RANDOM = np.random.default_rng(0)
SLICE = {
    case: [row for row, chosen in zip(ALL[case], RANDOM.uniform(size=len(ALL[case])) < 0.25, strict=True) if chosen]
    for case in RANDOM.choice(list(CASES), 2, replace=False).tolist()
}


def check(case, transformations):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model does not have any trainable weights")
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize`")
        trial = Trial(case)
        outcomes = {row: outcome(trial, row) for row in transformations}
    failed = [f"{row} {result}" for row, result in outcomes.items() if result.startswith("failed")]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("case", SLICE)
def test_a_slice_of_the_matrix(case):
    check(case, SLICE[case])


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES)
def test_every_transformation_keeps_the_model_or_is_refused_before_it_changes_anything(case):
    check(case, ALL[case])


def test_models_take_turns_so_that_each_architecture_meets_each_change():
    for architecture in {case.architecture for case in CASES.values()} - {"variational"}:
        met = {row for name, row in combinations() if CASES[name].architecture == architecture}
        assert met == set(rows()), architecture


def test_the_page_counts_transformations_of_the_matrix():
    page = PAGE.read_text(encoding="utf-8").partition(f"## {NAMES['tensorflow']}")[2].partition("## ")[0]
    counted = set(re.findall(r"^\| (.+?) \| \d+ \|", page, re.M))
    assert len(counted) > 20
    assert counted <= {*KEEPING, *EXPORTS, *CHANGES, *REFUSED}
