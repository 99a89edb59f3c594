import numpy as np
import pytest

X = np.cos(np.arange(2 * 3 * 6 * 7, dtype=np.float32)).reshape(2, 3, 6, 7) * 3


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Affine", {"alpha": 2.0, "beta": -1.0}),
        ("Scale", {"scale": 1.5}),
        ("ImageScaler", {"scale": 2.0, "bias": [1.0, -2.0, 3.0]}),
        ("Crop", {"border": [1, 2, 3, 1]}),
        ("Crop", {"border": [1, 2, 0, 0], "scale": [2, 4]}),
        ("ScaledTanh", {"alpha": 2.0, "beta": 0.7}),
        ("ParametricSoftplus", {"alpha": 2.0, "beta": 0.7}),
    ],
)
def test_what_old_exporters_wrote(check, op_type, attributes):
    check(op_type, X, opset=7, gradient=True, **attributes)


@pytest.mark.parametrize("across_channels", [0, 1])
@pytest.mark.parametrize("normalize_variance", [0, 1])
def test_normalisation_by_flags(check, across_channels, normalize_variance):
    given = {"across_channels": across_channels, "normalize_variance": normalize_variance, "mapped": False}
    check("MeanVarianceNormalization", X, opset=7, tolerance=1e-5, **given)
