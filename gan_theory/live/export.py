"""Functions of tensors, run by PyTorch, and exported to ONNX for a page in which no kernel runs."""

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.distributions import Distribution
from torch.fx.experimental.proxy_tensor import make_fx

if TYPE_CHECKING:
    import onnx
    from torch.onnx._internal.exporter._registration import ONNXRegistry

__all__ = ["Function", "evaluate", "to_onnx"]

Function = Callable[..., Mapping[str, Tensor]]

OPSET = 20  # the version of ONNX's operators
LARGE = 4096  # numbers: constants from this size on are kept as small as they can be
TOLERANCE = 1e-5  # between PyTorch and onnxruntime, relative to numbers that are larger than 1
# The exporter would write these with a bare exp; their decompositions are as stable as they are.
OVERFLOWING = [torch.ops.aten.logaddexp, torch.ops.aten.binary_cross_entropy_with_logits]


@contextmanager
def _single_precision() -> Iterator[None]:
    """What a page computes in: onnxruntime has no float64 kernel of `Erf` and `Softplus`."""
    dtype, validate = torch.get_default_dtype(), Distribution._validate_args  # noqa: SLF001  (it has no getter)
    torch.set_default_dtype(torch.float32)
    Distribution.set_default_validate_args(value=False)  # a check of values can't be exported
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        Distribution.set_default_validate_args(validate)


def evaluate(function: Function, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""The outputs of a function at some inputs, as its exported twin computes them: in float32.

    PyTorch's default dtype is float32 while the function runs, and it is restored afterwards.

    Args:
        function: From tensors, given by name, to named tensors.
        inputs: Its arguments, float32 of any shape.

    Returns:
        The named outputs, float32, contiguous, detached.

    Raises:
        TypeError: If the function does not return a mapping from names to tensors, or if one of them is not
            float32: then a tensor made outside of the function in another dtype has found its way in.

    >>> evaluate(lambda a: {"square": a**2}, {"a": torch.tensor(3.0, dtype=torch.float32)})
    {'square': tensor(9.)}
    """
    with _single_precision():
        outputs = function(**inputs)
    if not isinstance(outputs, Mapping) or not outputs:
        raise TypeError(f"{_name(function)} must return a dict of named tensors, not {outputs!r}")
    for name, value in outputs.items():
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            given = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{_name(function)} must return float32 tensors, and its {name!r} is {given}; "
                "make every tensor inside the function, where the default dtype is float32"
            )
    return {name: value.detach().contiguous() for name, value in outputs.items()}


def to_onnx(
    function: Function, inputs: Mapping[str, Tensor], trials: Sequence[Mapping[str, Tensor]] = ()
) -> bytes:
    r"""A function as an ONNX model, with the names of its arguments and outputs prefixed by "in." and "out.".

    The shapes are those of the given inputs. Their values are not used, so a function that branches on them
    raises, instead of being frozen in one branch.

    Args:
        function: From tensors, given by name, to named tensors, all float32.
        inputs: Example arguments, float32.
        trials: Arguments of the same shapes, at which the model must compute what PyTorch does, to 1e-5
            relative to numbers that are larger than 1.

    Returns:
        The serialised model.

    Raises:
        ValueError: If the function cannot be exported, with the reason, or if the model computes something
            else in a trial.

    >>> model = to_onnx(lambda a: {"square": a**2}, {"a": torch.tensor(3.0, dtype=torch.float32)})
    >>> import onnxruntime
    >>> onnxruntime.InferenceSession(model).run(None, {"in.a": torch.tensor(2.0).numpy()})[0].item()
    4.0
    """
    from torch.onnx._internal.exporter import _core  # noqa: PLC0415  (only who builds the book has ONNX)

    names = list(evaluate(function, inputs))

    def as_tuple(*arguments: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(**dict(zip(inputs, arguments, strict=True))).values())

    loudness, collects = logging.root.manager.disable, gc.isenabled()
    logging.disable(logging.WARNING)  # the exporter tells of operators and constants that nobody uses
    gc.disable()  # it would look through what the exporter makes again and again, and find nothing to free
    try:
        with _single_precision(), warnings.catch_warnings(action="ignore"):
            graph = make_fx(
                as_tuple,
                decomposition_table=get_decompositions(OVERFLOWING),
                tracing_mode="fake",
                _allow_non_fake_inputs=True,
            )(*inputs.values())
            _refuse_what_would_differ(graph)
            program = _core.export(
                graph.eval(),
                tuple(inputs.values()),
                registry=_translations(),
                verbose=False,
                input_names=[f"in.{name}" for name in inputs],
                output_names=[f"out.{name}" for name in names],
                opset_version=OPSET,
            )
    except Exception as error:
        cause = error
        while cause.__cause__:
            cause = cause.__cause__
        raise ValueError(
            f"{_name(function)} cannot be exported to ONNX ({str(cause).splitlines()[0]}); "
            "it may use its arguments as tensors only, so no float(), if or .item() on them, "
            "and operators that ONNX has"
        ) from error
    finally:
        logging.disable(loudness)
        (gc.enable if collects else gc.disable)()
    model = program.model_proto
    for node in model.graph.node:  # nine tenths of the bytes are notes about where an operator comes from
        del node.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    _halve(model.graph)
    serialised = model.SerializeToString()
    if trials:
        _compare(serialised, function, trials)
    return serialised


@cache
def _translations() -> "ONNXRegistry":
    """PyTorch's operators in ONNX, for whose reading `torch.onnx.export` takes two seconds each time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry  # noqa: PLC0415

    return ONNXRegistry.from_torchlib(OPSET)


def _halve(graph: "onnx.GraphProto") -> None:
    """Stores large constants in half precision where that holds them exactly, as a shipped network's."""
    import onnx.numpy_helper  # noqa: PLC0415  (only who builds the book has it)

    for constant in [each for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT]:
        values = onnx.numpy_helper.to_array(constant)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.size < LARGE or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = constant.name
        constant.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name}.half"))
        cast = onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)
        graph.node.insert(0, cast)


def _compare(model: bytes, function: Function, trials: Sequence[Mapping[str, Tensor]]) -> None:
    """Raises where the model computes something else than the function."""
    import onnxruntime  # noqa: PLC0415  (only who builds the book has it)

    session = onnxruntime.InferenceSession(model)
    taken = {each.name for each in session.get_inputs()}  # those that the outputs depend on
    for inputs in trials:
        feeds = {f"in.{name}": value.numpy() for name, value in inputs.items() if f"in.{name}" in taken}
        computed = session.run(None, feeds)
        for (name, value), found in zip(evaluate(function, inputs).items(), computed, strict=True):
            right = value.numpy()
            same = (found == right) | (np.isnan(found) & np.isnan(right))
            with np.errstate(invalid="ignore"):  # ∞ − ∞, where both are the same
                gaps = np.where(same, 0.0, np.abs(found - right) / np.maximum(1.0, np.abs(right)))
            if not (gaps <= TOLERANCE).all():
                given = ", ".join(f"{name} = {value!r}" for name, value in inputs.items())
                raise ValueError(
                    f"{_name(function)} must be the same in ONNX, and its {name!r} is off "
                    f"by {gaps.max():.1e} where {given}: compute it by operators that lose fewer digits"
                )


def _refuse_what_would_differ(graph: torch.fx.GraphModule) -> None:
    """Raises where the exported twin would draw other random numbers, or compute what onnxruntime can't."""
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise ValueError(f"it draws random numbers with {node.target}: draw them outside of the function")
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.dtype == torch.float64:
            raise ValueError(f"it computes in float64 with {node.target}: onnxruntime can't everywhere")


def _name(function: Function) -> str:
    return getattr(function, "__qualname__", repr(function))
