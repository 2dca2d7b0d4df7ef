"""Checkpoints: tensors and metadata in one safetensors file, written whole or not at all, never unpickled.

A checkpoint holds the sha256 of its content, since a bit that has flipped in a weight shows in nothing else.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = [
    "CheckpointError",
    "as_checkpoint",
    "folder_for",
    "read_checkpoint",
    "write_atomically",
    "write_checkpoint",
    "write_together",
]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that belongs to another run."""


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file such that at any moment, killed or not, `path` is as it was or all of `content`."""
    write_together({path: content})


def write_together(files: dict[Path, bytes]) -> None:
    """Writes files such that each is at any moment as it was or whole, and none is new if one fails."""
    partials = {path: path.with_name(f".{path.name}.partial") for path in files}
    try:
        for path, content in files.items():
            _write(partials[path], content)
        for path, partial in partials.items():
            partial.replace(path)
    except BaseException:
        for partial in partials.values():
            with suppress(NotADirectoryError):
                partial.unlink(missing_ok=True)
        raise


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno and not error.filename:  # a full disk does not say where it is
            error.filename = str(path)
        raise


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Makes the folder, and those above it, and takes away again what of them is empty if the block fails."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def write_checkpoint(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes tensors and metadata (whatever JSON can hold) to one file, atomically."""
    write_atomically(path, as_checkpoint(tensors, metadata))


def as_checkpoint(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> bytes:
    """What `write_checkpoint` writes."""
    header = {name: json.dumps(value) for name, value in metadata.items()}
    return safetensors.torch.save(tensors, {**header, "sha256": _digest(tensors, header)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_checkpoint` wrote.

    Raises:
        CheckpointError: If there is no such file, or it is not a whole checkpoint, or has changed since.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            header = file.metadata() or {}
        digest = header.pop("sha256", None)  # older ones have none
        metadata = {name: json.loads(value) for name, value in header.items()}
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint ({error})") from error
    if digest is not None and digest != (found := _digest(tensors, header)):
        raise CheckpointError(f"{path} is not a whole checkpoint (its sha256 is {found}, not {digest})")
    return tensors, metadata


def _digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
