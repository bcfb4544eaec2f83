import numpy as np
import pytest

from keras_sae.visualization import plot_clouds


def test_clouds_are_drawn_on_the_same_axes_in_the_same_colours(tmp_path):
    random = np.random.default_rng(0)
    clouds = {"data": random.normal(size=(50, 3)), "flat": random.normal(size=(50, 3)) * [1, 3, 0]}
    position = random.uniform(size=50)
    figure = plot_clouds(clouds, position)
    assert [axis.get_title() for axis in figure.axes] == ["data", "flat"]
    for axis, points in zip(figure.axes, clouds.values(), strict=True):
        (scatter,) = axis.collections
        np.testing.assert_array_equal(scatter.get_array(), position)
        np.testing.assert_array_equal(np.transpose(scatter._offsets3d), points)
        assert axis.get_ylim() == figure.axes[0].get_ylim()
        assert axis.get_ylim()[1] >= clouds["flat"][:, 1].max()
    figure.savefig(tmp_path / "clouds.png")
    assert (tmp_path / "clouds.png").stat().st_size > 1000


def test_points_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"'flat' of shape \(4, 2\)"):
        plot_clouds({"flat": np.zeros((4, 2))}, np.zeros(4))
    with pytest.raises(ValueError, match=r"position of shape \(5,\)"):
        plot_clouds({"data": np.zeros((4, 3))}, np.zeros(5))
