import numpy as np
import pytest

from keras_sae.evaluation import denoise, psnr
from keras_sae.evaluation._denoise import add_noise
from keras_sae.evaluation._pca import principal_components
from keras_sae.metrics import PSNR
from keras_sae.models import DenseAutoencoder


def test_psnr_by_hand_and_as_the_metric():
    clean = np.zeros((2, 10))
    noisy = np.stack([np.full(10, 0.1), np.full(10, 0.01)])
    assert psnr(clean, noisy) == pytest.approx((20 + 40) / 2)
    assert psnr(clean, noisy, max_value=10) == pytest.approx((40 + 60) / 2)
    metric = PSNR()
    metric.update_state(clean, noisy)
    assert psnr(clean, noisy) == pytest.approx(float(metric.result()), rel=1e-5)


def test_noise_is_what_it_is_called():
    images = np.full((20, 10, 10, 1), 0.5, "float32")
    masked = add_noise(images, "masking", 0.3, np.random.default_rng(0))
    assert set(np.unique(masked)) == {0, 0.5}
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.03)
    salted = add_noise(images, "salt and pepper", 0.2, np.random.default_rng(0), -1, 2)
    assert set(np.unique(salted)) == {-1, 0.5, 2}
    gaussian = add_noise(images, "gaussian", 0.2, np.random.default_rng(0)) - images
    assert (gaussian.mean(), gaussian.std()) == pytest.approx((0, 0.2), abs=0.01)


def plane(count, seed):
    """Pictures of 4 x 4 pixels in a plane of two dimensions, in [0, 1]."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(9).normal(size=(16, 2)))[0]
    return (0.5 + 0.3 * random.uniform(-1, 1, size=(count, 2)) @ directions.T).reshape(count, 4, 4, 1).astype("float32")


def test_pca_takes_the_components_that_hold_the_data_and_no_more():
    model = DenseAutoencoder((4, 4, 1), 10)
    train, test = (plane(500, 0), None), (plane(100, 1), None)
    result = denoise(model, train, test, noise="gaussian", amount=0.1)
    assert result["pca"]["components"] == 2
    # Of the noise, 2 of 16 directions are left. The logarithm of a squared deviation of n directions is digamma(n / 2) on
    # average, but for what is the same for all: digamma(8) - digamma(1) = 1 + 1/2 + ... + 1/7.
    gained = result["pca"]["psnr"] - result["noisy"]["psnr"]
    assert gained == pytest.approx(10 / np.log(10) * (1 / np.arange(1, 8)).sum(), abs=0.6)
    assert set(result) == {"psnr", "noisy", "median", "pca"}
    assert result == denoise(model, train, test, noise="gaussian", amount=0.1)
    assert denoise(DenseAutoencoder((4, 4, 1), 1), train, test, noise="gaussian", amount=0.1)["pca"]["components"] == 1


def test_pca_drops_what_noise_drowns():
    def axes(seed):
        # Variances 1 and 0.07 along two pixels; the noise has 0.1.
        x = np.zeros((4000, 4, 4, 1), "float32")
        x[:, 0, :2, 0] = np.random.default_rng(seed).normal(size=(4000, 2)) * np.sqrt([1, 0.07])
        return x, None

    for amount, components in ((np.sqrt(0.1), 1), (np.sqrt(0.04), 2)):
        result = denoise(DenseAutoencoder((4, 4, 1), 10), axes(0), axes(1), noise="gaussian", amount=float(amount))
        assert result["pca"]["components"] == components


def test_principal_components_reconstruct_exactly_what_they_hold():
    x = plane(50, 0)
    fitted = principal_components(x, 2)
    np.testing.assert_allclose(fitted.reconstruct(x, 2), x, atol=1e-5)
    assert fitted.coefficients(x).shape == (50, 2)
    assert np.abs(fitted.reconstruct(x, 1) - x).max() > 0.01


@pytest.mark.parametrize("options", [{"noise": "snow"}, {"amount": 0}])
def test_bad_noise_is_refused(options):
    with pytest.raises(ValueError, match="Received"):
        denoise(DenseAutoencoder((4, 4, 1), 1), (plane(9, 0), None), (plane(9, 1), None), **options)
