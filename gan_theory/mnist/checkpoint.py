"""Checkpoints: tensors and metadata in one safetensors file, written whole or not at all, never unpickled."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["CheckpointError", "read_checkpoint", "write_atomically", "write_checkpoint"]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that belongs to another run."""


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file such that at any moment, killed or not, `path` is as it was or all of `content`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_checkpoint(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes tensors and metadata (whatever JSON can hold) to one file, atomically."""
    header = {name: json.dumps(value) for name, value in metadata.items()}
    write_atomically(path, safetensors.torch.save(tensors, header))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_checkpoint` wrote.

    Raises:
        CheckpointError: If there is no such file, or it is not a whole checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint ({error})") from error
    return tensors, metadata
