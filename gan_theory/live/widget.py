"""What every live component is: a widget where a kernel runs, and a piece of the page where none does."""

import base64
import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import anywidget
import matplotlib as mpl
import numpy as np
import torch
from anywidget.experimental import command
from matplotlib.figure import Figure
from torch import Tensor
from traitlets import Dict

from gan_theory.live.export import Function, evaluate, to_onnx

__all__ = ["Live", "Task", "encode", "for_page"]

BROWSER = Path(__file__).parent / "static"


def for_page() -> bool:
    """Whether the book is being built: then a component is written into the page, with all it computes."""
    return os.environ.get("GAN_THEORY_LIVE") == "page"


class Task(NamedTuple):
    """A function that the browser may ask for.

    Attributes:
        function: From named tensors to named tensors.
        inputs: Those that give the shapes of its arguments.
        trials: Those at which a page's twin of the function is held to it.
    """

    function: Function
    inputs: Mapping[str, Tensor]
    trials: Sequence[Mapping[str, Tensor]] = ()


class Live(anywidget.AnyWidget):
    r"""A widget whose browser half calls PyTorch functions by name: in the kernel, or exported in the page.

    A subclass names its view in the browser, and hands in tasks, their first outputs, what else the view
    needs, and a picture for where nothing can be live: in print, and without JavaScript.
    """

    _esm = BROWSER / "live-widget.js"
    _css = BROWSER / "live.css"
    _spec = Dict().tag(sync=True)
    view: ClassVar[str]

    def __init__(
        self,
        tasks: Mapping[str, Task],
        start: Mapping[str, Tensor],
        spec: Mapping[str, Any],
        picture: Figure,
        alt: str,
    ) -> None:
        if not isinstance(alt, str) or len(alt.split()) < 4:
            raise ValueError(f"alt must describe what is shown in a few words, not {alt!r}")
        self._tasks, self._picture, self._alt = dict(tasks), picture, alt
        shapes = {
            name: {argument: list(value.shape) for argument, value in task.inputs.items()}
            for name, task in tasks.items()
        }
        super().__init__(
            _spec={"view": self.view, "alt": alt, "tasks": shapes, "start": encode(start), **spec}
        )

    def open(self) -> None:
        """Meets the browser half through the kernel, unless the page is to do without one."""
        if not for_page():
            super().open()

    @command
    def _compute(self, message: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Answers the browser: the outputs of a task, or the error that it raised."""
        task = self._tasks[message["task"]]
        try:
            arguments = {
                name: torch.frombuffer(bytearray(buffer), dtype=torch.float32).reshape(
                    task.inputs[name].shape
                )
                for name, buffer in zip(message["inputs"], buffers, strict=True)
            }
            outputs = evaluate(task.function, arguments)
        except Exception as error:  # noqa: BLE001  (whatever the author's function raises is for the reader)
            return {"error": f"{type(error).__name__}: {error}"}, []
        return {"outputs": list(outputs)}, [value.numpy().tobytes() for value in outputs.values()]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401  (as in the base class)
        return self._for_page() if for_page() else super()._repr_mimebundle_(**kwargs)

    def _for_page(self) -> dict[str, Any]:
        """The component as a page holds it, its tasks as ONNX models, and as print shows it."""
        models = {name: base64.b64encode(to_onnx(*task)).decode() for name, task in self._tasks.items()}
        data = json.dumps({**self._spec, "models": models}).replace("<", "\\u003c")
        svg = quote(_saved(self._picture, "svg"), safe=" /:;,=()")
        return {
            "text/html": (
                f'<div class="live"><script type="application/json">{data}</script>'
                f'<img class="live-picture" src="data:image/svg+xml,{svg}" alt="{html.escape(self._alt)}">'
                "</div>"
            ),
            "image/png": base64.b64encode(_saved(self._picture, "png")).decode(),
            "text/plain": self._alt,
        }


def encode(arrays: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensors as the browser reads them: float32 in base64."""
    return {
        name: base64.b64encode(np.asarray(value, "<f4").tobytes()).decode() for name, value in arrays.items()
    }


def _saved(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "live"}):  # the same picture gives the same bytes
        figure.savefig(file, format=kind, metadata={"Date": None})
    return file.getvalue()
