import functools
import inspect

import keras
from keras import ops

from keras_sae.distributed import replica_count, sum_over_replicas
from keras_sae.layers import selections_of
from keras_sae.models._code_metrics import distinct_names, has_any, refuse_metrics_on_jax, split_metrics
from keras_sae.models._decoding import before_selections, check_decoded
from keras_sae.models._fit_arguments import choose_modes, read_arguments, refuse_class_weight, refuse_vectors
from keras_sae.models._forward import Forward
from keras_sae.models._inputs import as_float, check_target, one_of, split_labels
from keras_sae.models._level import apply_constraints
from keras_sae.models._objective import KERNEL_REGULARIZER, Objective
from keras_sae.models._position_mask import masks_of
from keras_sae.models._sparse_decoding import decoding_of
from keras_sae.ops import fuse_adam

_SIGNATURES = {name: inspect.signature(getattr(keras.Model, name)) for name in ("fit", "evaluate", "predict", "train_on_batch")}


class TrainedOnInput(Forward):
    """How a `SparseAutoencoder` trains: on its own input, with penalties and metrics of the code that it decoded from."""

    def _prepare_training(self, codes, penalties, kernel_regularizer):
        """Makes what training needs, when encoder and decoder are in place.

        Args:
            codes: Dictionary from the names of codes to symbolic tensors of the encoder. "code" is what the decoder reads.
            penalties: Dictionary from names of codes to lists of penalties.
            kernel_regularizer: Regularizer of every kernel, or None.
        """
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self._reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        if penalties:
            self.objective = Objective(penalties, {name: code.shape for name, code in codes.items()})
            self._penalty_trackers = [keras.metrics.Mean(name=name) for name in self.objective.names]
        if self.kernel_regularizer is not None:
            self._kernel_tracker = keras.metrics.Mean(name=KERNEL_REGULARIZER)
        # A second model of the same layers, which gives all codes at once.
        outputs = {"codes": codes, "masks": masks_of(codes)}
        if penalties and self.objective.decodes:
            competing, selection = before_selections(self.encoder)
            check_decoded(self.objective, codes["code"], selection)
            outputs["competing"] = competing
        self._untracked.encode = keras.Model(self.encoder.inputs[0], outputs)
        self._untracked.masked = bool(outputs["masks"])

    @property
    def penalties(self):
        """The penalties of the objective, a list."""
        return list(self.objective.penalties) if hasattr(self, "objective") else []

    @property
    def supervised(self):
        """Whether a penalty needs class labels in training."""
        return hasattr(self, "objective") and self.objective.supervised

    @property
    def takes_labels(self):
        """Whether class labels may come with the inputs."""
        return self.supervised

    @property
    def metrics(self):
        return [*super().metrics, *self._untracked.code_metrics] if hasattr(self, "_untracked") else super().metrics

    def call(self, inputs, training=None, mask=None):
        inputs = self._read(inputs)
        corrupted = inputs if self.corruption is None else self.corruption(inputs, training=training)
        made, outputs = self._encode_and_decode(corrupted, training)
        if self.penalties or self._untracked.code_metrics:
            self._untracked.forward.last = (outputs, made)
        self._add_losses(made, training, inputs, outputs)
        return outputs

    def _read(self, x, name="inputs"):
        """Inputs as a tensor of floats, whatever form they have."""
        return as_float(one_of(x, [self.inputs[0].name]), self.inputs[0].dtype, name)

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        auto_scale_loss=True,
        **kwargs,
    ):
        """Configures the model for training, as Keras does.

        `metrics` and `weighted_metrics` may hold metrics of the code too (`keras_sae.metrics.L0()`, ...). They get the code
        that the decoder reads: in `fit` as selected in training, in `evaluate` as at inference. Sample weights always weight
        them. Where two have one name, the second is called `name_1`.

        With `auto_scale_loss`, the loss is scaled where a layer computes in "mixed_float16", so that gradients do not
        underflow.
        """
        self.check_metrics([metrics, weighted_metrics])
        refuse_metrics_on_jax([metrics, weighted_metrics], self)
        metrics, of_code = split_metrics(metrics)
        weighted_metrics, more = split_metrics(weighted_metrics)
        of_code += more
        if of_code and metrics:  # a list, to which the config adds metrics of the code
            metrics = [metric for metric in keras.tree.flatten(metrics) if metric is not None]
        for metric in of_code:
            metric.build(self.encoder.outputs[0].shape[-1])
        distinct_names(of_code, ["loss", *self._parts_of_loss()], [metrics, weighted_metrics])
        if "jit_compile" in kwargs:
            kwargs["jit_compile"] = self.leave_out_xla(kwargs["jit_compile"])
        for selection in selections_of(self.encoder):
            selection.compile_by_xla(kwargs.get("jit_compile") is True)
        optimizer = fuse_adam(keras.optimizers.get(optimizer))
        if auto_scale_loss and self.computes_in_float16 and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, auto_scale_loss=auto_scale_loss, **kwargs)
        self._untracked.code_metrics = of_code
        self._untracked.compares = has_any([metrics, weighted_metrics])

    @property
    def computes_in_float16(self):
        """Whether a layer computes in float16 with weights of float32, so that its gradients may underflow."""
        return any(layer.dtype_policy.name == "mixed_float16" for layer in _layers_in(self))

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and self._untracked.code_metrics:
            of_code = [keras.saving.serialize_keras_object(metric) for metric in self._untracked.code_metrics]
            config["metrics"] = [*(config["metrics"] or []), *of_code]
        return config

    def compile_from_config(self, config):
        # A saved optimizer has its state: it scales the loss where it did so before.
        scales = self.dtype_policy.name == "mixed_float16"
        self.compile(**keras.saving.deserialize_keras_object(config), auto_scale_loss=scales)
        self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        arguments = self._arguments("fit", args, kwargs)
        refuse_class_weight(arguments.get("class_weight"), arguments.get("y"), self.takes_labels)
        directions = {metric.name: metric.direction for metric in self._untracked.code_metrics}
        refuse_vectors(arguments.get("callbacks"), self._untracked.code_metrics)
        choose_modes(arguments.get("callbacks"), {**dict.fromkeys(self._parts_of_loss(), "min"), **directions})
        self._read_arguments(arguments)
        history = super().fit(**arguments)
        if _keeps_averages(self.optimizer):  # Keras has replaced the weights by them, and they do not obey constraints
            for weight in self.trainable_weights:
                weight.assign(ops.copy(weight))  # on JAX both are one array, which the next step gives away
            apply_constraints(self)
        return history

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        arguments = self._arguments("evaluate", args, kwargs)
        if "_use_cached_eval_dataset" not in arguments:  # within `fit`, which has read them
            self._read_arguments(arguments)
        return super().evaluate(**arguments)

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        arguments = self._arguments("predict", args, kwargs)
        self._read_arguments(arguments)
        return super().predict(**arguments)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args, **kwargs):
        arguments = self._arguments("train_on_batch", args, kwargs)
        refuse_class_weight(arguments.get("class_weight"), arguments.get("y"), self.takes_labels)
        return super().train_on_batch(**arguments)

    def _arguments(self, method, args, kwargs):
        """The arguments of a method of Keras by their names."""
        bound = _SIGNATURES[method].bind(self, *args, **kwargs).arguments
        return {**{name: value for name, value in bound.items() if name not in ("self", "kwargs")}, **bound.get("kwargs", {})}

    def _read_arguments(self, arguments):
        read_arguments(arguments, self)

    def _parts_of_loss(self):
        """The names that parts of the loss are logged by."""
        names = ["reconstruction_loss", *(self.objective.names if self.penalties else ())]
        return names if self.kernel_regularizer is None else [*names, KERNEL_REGULARIZER]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        x, target, labels = self._read_targets(x, y, y_pred, training)
        sample_weight = self._read_weights(sample_weight, y_pred)
        loss = super().compute_loss(x, target, y_pred, sample_weight, training)
        # Keras divides each replica's losses by the number of replicas, so that their sum is the mean over the batch.
        replicas = replica_count()
        added = self._added_losses()
        layer_losses = sum(ops.sum(layer_loss) for layer_loss in self.losses)
        samples = ops.shape(y_pred)[0]
        reconstruction = loss - layer_losses
        layer_losses = layer_losses - sum(added)
        if replicas > 1:
            reconstruction = ops.where(samples > 0, reconstruction, 0)  # a replica may get no sample of a small batch
        self._reconstruction_tracker.update_state(reconstruction * replicas, sample_weight=samples)
        if self.kernel_regularizer is not None:
            value = self._kernel_loss()
            self._kernel_tracker.update_state(value, sample_weight=samples)
            layer_losses = layer_losses + ops.cast(value, loss.dtype) / replicas
        batch = samples
        if self.penalties or self._untracked.code_metrics:
            made = self._made_of(x, y_pred, training)
            codes, masks = made["codes"], made["masks"]
            for metric in self._untracked.code_metrics:
                weights = {"sample_weight": sample_weight, "mask": masks.get("code")}
                metric.update_state(codes["code"], **{key: each for key, each in weights.items() if each is not None})
        if self.penalties:
            same = y is None or not self.objective.decodes
            if added and replicas == 1 and labels is None and sample_weight is None and same:
                values, counts, batch = self._untracked.forward.values  # running means have moved
            else:
                decoding = decoding_of(self, made, target, y_pred, training, sample_weight)
                values, counts, batch = self.objective.values(codes, labels, training, sample_weight, masks, decoding=decoding)
            for tracker, value, count in zip(self._penalty_trackers, values, counts, strict=True):
                tracker.update_state(value, sample_weight=samples if count is None else count)
                layer_losses = layer_losses + ops.cast(value, loss.dtype) / replicas
        elif replicas > 1:
            batch = sum_over_replicas(samples)
        if replicas > 1:
            # The shares of a batch may differ in size: the gradient of each counts by its samples. The value stays as it is,
            # because logs weight it by samples.
            share = ops.cast(samples * replicas, loss.dtype) / ops.cast(batch, loss.dtype)
            weighed = reconstruction * share
            reconstruction = weighed + ops.stop_gradient(reconstruction - weighed)
        return reconstruction + layer_losses

    def _kernel_loss(self):
        """The value of `kernel_regularizer`."""
        return sum(self.kernel_regularizer(ops.convert_to_tensor(kernel)) for kernel in self._kernels())

    def _kernels(self):
        """The kernels that `kernel_regularizer` charges: those that train, each once."""
        return [variable for variable in self.trainable_variables if variable.name == "kernel"]

    def _read_targets(self, x, y, y_pred, training):
        """The input, the target of the reconstruction and the labels, as tensors. Where no target is given, it is the input."""
        x = self._read(x)
        if isinstance(y, dict) or (isinstance(y, (list, tuple)) and len(y) == 1):
            y = one_of(y, [*self.output_names, self.inputs[0].name], "target")
        given, labels = split_labels(self.takes_labels, x, y, y_pred, training and self.supervised)
        target = self._target(x if given is None else given)
        check_target(target, y_pred)
        return x, as_float(target, keras.backend.result_type(y_pred.dtype, "float32"), "a target"), labels

    def _read_weights(self, sample_weight, y_pred):
        """Sample weights as one tensor, or None."""
        if sample_weight is None:
            return None
        sample_weight = ops.convert_to_tensor(keras.tree.flatten(sample_weight)[0])  # Keras repeats it for target and labels
        if self._untracked.masked and len(sample_weight.shape) == 1 and len(y_pred.shape) > 2:
            sample_weight = ops.expand_dims(sample_weight, 1)  # Keras' losses multiply it by the mask of steps
        return sample_weight

    def _target(self, given):
        """What the reconstruction of an input, or of the clean one in its place, is compared with: itself, preprocessed."""
        return given if self.preprocessing is None else ops.stop_gradient(self.preprocessing(given, training=False))

    def _made_of(self, x, y_pred, training):
        """The codes that `y_pred` was decoded from. The forward pass keeps them; at inference they can be made again."""
        forward = self._untracked.forward
        outputs, made = getattr(forward, "last", (None, None))
        if outputs is not None and outputs is y_pred:
            forward.last = (None, None)
            return made
        if training:
            raise ValueError(
                "In training, penalties and metrics need the code that `y_pred` was decoded from. Only the last call of the "
                "model knows it. Received: a `y_pred` that the last call did not return, or whose loss was already computed. "
                "Call `y_pred = model(x, training=True)` and then `model.compute_loss(x, y, y_pred)`, with no other call in "
                "between. Do not change `y_pred`: put a cast or another layer into the decoder."
            )
        return self._untracked.encode(x, training=False)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if not self._untracked.compares:
            return self.get_metrics_result()
        x, target, _ = self._read_targets(x, y, y_pred, training=False)
        sample_weight = self._read_weights(sample_weight, y_pred)
        return super().compute_metrics(x, target, y_pred, sample_weight=sample_weight)


def _keeps_averages(optimizer):
    """Whether an optimizer keeps moving averages of the weights."""
    return getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False)


def _layers_in(model):
    """All layers of a model, and of models and wrappers in it."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers_in(layer)
