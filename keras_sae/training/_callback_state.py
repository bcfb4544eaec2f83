"""What the callbacks of a recipe remember from epoch to epoch: the only module that reads and sets it."""

import keras

from keras_sae.callbacks import DeadUnitMonitor

# For each class, the attributes that hold its state. Keras does not document those of its own.
STATE = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    DeadUnitMonitor: ("last_report", "last_dead"),
}
_EARLIER_NAMES = {"_report": "last_report"}  # in runs that an earlier version saved


def state_of(callbacks):
    """The state of callbacks as plain values, by the names of their classes."""
    return {type(callback).__name__: _state(callback) for callback in callbacks if type(callback) in STATE}


def restore_state(state, callbacks):
    """Restores what `state_of` returned. A callback without an entry keeps its state."""
    for callback in callbacks:
        for name, value in state.get(type(callback).__name__, {}).items():
            setattr(callback, _EARLIER_NAMES.get(name, name), value)


def _state(callback):
    values = {name: getattr(callback, name) for name in STATE[type(callback)]}
    return {
        name: value if isinstance(value, int | dict) else float(value) for name, value in values.items() if value is not None
    }
