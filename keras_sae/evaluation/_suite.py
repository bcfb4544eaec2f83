import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping

# What `evaluate` hands to a suite that has a parameter of that name. `x` and `labels` are those of the test data.
GIVEN = frozenset({"model", "train", "test", "x", "labels", "build", "report", "cache"})


def within(tolerances):
    """How measured figures are compared with those of a card, for `Suite.agrees`.

    Args:
        tolerances: Dictionary from keys of figures to absolute tolerances, or to functions of the path and the card's figures
            that return them. A key counts for all figures below it. Other figures may differ by 0.1 percent: float32 sums
            differ between machines, and with them single test images and units.
    """

    def agrees(path, measured, card):
        absolute = next((tolerances[key] for key in path if key in tolerances), None)
        if callable(absolute):
            absolute = absolute(path, card)
        tolerance = {"rel_tol": 1e-3} if absolute is None else {"abs_tol": absolute, "rel_tol": 0}
        return math.isclose(measured[path], card[path], **tolerance)

    return agrees


_ALL_RELATIVE = within({})


@dataclasses.dataclass(frozen=True)
class Suite:
    """A part of a card: how it is measured, shown, and compared with an earlier measurement.

    Attributes:
        measure: Function that returns figures, a dictionary of plain data. Its parameters in `GIVEN` are what it needs. All
            others are options: the keys of the recipe's section.
        section: Function of figures, options and the preset's metadata, which returns lines of Markdown for the card.
        on_every_card: Whether recipes without a section for this suite have it too.
        unit: Unit of its figures in the table of published figures.
        higher_is_better: Whether a published figure is reached from above.
        baselines: Keys of figures that measure something else than the model, for comparison.
        choices: Keys of figures that were chosen on training data. Where two choices are equally good, another machine may take
            the other, so they are shown and not compared.
        added: Keys of figures that cards of earlier versions lack. A card without them is not a different one.
        agrees: Function of a path, measured figures and those of a card, both dictionaries from paths: whether the figures
            under this path agree. A path is a tuple of keys.
        figures: Function from options to the paths, such as "raw_pixels.error", that a published figure can be compared with.
            "*" stands for any key.
        reads_labels: Function from options to whether it needs a label for each image.
        needs_sklearn: Function from options to whether it needs scikit-learn, or SciPy, which comes with it.
        check: Function of options and the shape of an image. Raises a ValueError if a value cannot be used, or not with such
            images.
    """

    measure: Callable
    section: Callable
    on_every_card: bool = False
    unit: str = " %"
    higher_is_better: bool = False
    baselines: tuple = ()
    choices: frozenset = frozenset()
    added: frozenset = frozenset()
    agrees: Callable = _ALL_RELATIVE
    figures: Callable = lambda options: ()
    reads_labels: Callable = lambda options: False
    needs_sklearn: Callable = lambda options: False
    check: Callable = lambda options, shape: None

    def __call__(self, *arguments, **options):
        return self.measure(*arguments, **options)

    @property
    def needs(self):
        """Names in `GIVEN` of what it reads."""
        return GIVEN & set(inspect.signature(self.measure).parameters)

    @property
    def options(self):
        """The keys that a recipe's section may have."""
        return set(self.defaults)

    @property
    def defaults(self):
        """The options and the values that they have if a recipe does not set them."""
        parameters = inspect.signature(self.measure).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name not in GIVEN}

    def compare(self, measured, card):
        """Rows `(path, measured, recorded, agrees)` of all figures of a measurement and of a card, missing ones as None."""
        measured, card = dict(self._flat(measured)), dict(self._flat(card))
        rows = [(path, measured.get(path), value, self._same(path, measured, card)) for path, value in card.items()]
        return rows + [(path, value, None, path[-1] in self.added) for path, value in measured.items() if path not in card]

    def _same(self, path, measured, card):
        if path[-1] in self.choices:
            return True
        if measured.get(path) is None or card[path] is None:
            return measured.get(path) is card[path]
        return self.agrees(path, measured, card)

    def _flat(self, figures, above=()):
        """Pairs of a path and a figure. What was chosen stays in one piece."""
        for key, value in figures.items():
            path = (*above, str(key))
            if isinstance(value, list):
                value = dict(enumerate(value))
            if isinstance(value, Mapping) and key not in self.choices:
                yield from self._flat(value, path)
            else:
                yield path, value


def check_reconstructs_inputs(purpose, model):
    """Raises a ValueError where a model reconstructs something else than its inputs."""
    if model.preprocessing is not None:
        raise ValueError(
            f"{purpose} compares reconstructions with inputs, and {model.name!r} reconstructs what its `preprocessing` "
            "gives. Leave it out, or use a model without preprocessing."
        )


def check_labels(purpose, *pairs):
    """Raises a ValueError where a pair `(images, labels)` has no labels."""
    if any(labels is None for _, labels in pairs):
        raise ValueError(f"{purpose}, and this data has no labels (labels=None). Leave it out, or use data with labels.")
