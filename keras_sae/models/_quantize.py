"""Refuses the modes of `quantize` that no autoencoder can keep, on a model, its parts and their layers."""

import functools

_CALIBRATED = ("gptq", "awq")


def refuse_calibration(layer):
    """Makes `quantize` of a layer or model refuse what Keras calibrates on the tokens of a language model.

    Keras wraps the method of each instance too. There it wants a config for such modes, and it changes layers before it
    finds out that a model is none of language.
    """
    quantize = layer.quantize
    if getattr(quantize, "refuses_calibration", False):
        return

    @functools.wraps(quantize)
    def checked(mode=None, config=None, **kwargs):
        for wanted in (mode, config, getattr(config, "mode", None)):
            if isinstance(wanted, str) and wanted in _CALIBRATED:
                raise ValueError(
                    "An autoencoder can be quantised to int8, int4 or float8. GPTQ and AWQ calibrate the blocks of language "
                    f"models on tokens, and no loaded model could repeat that. Received: {wanted!r}. Use `quantize('int4')`."
                )
        return quantize(mode, config=config, **kwargs)

    checked.refuses_calibration = True
    layer.quantize = checked
