"""A run: a recipe, the digits and a seed, trained epoch by epoch, saved and resumed bit for bit."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from gan_theory.checks import describe, is_integer
from gan_theory.mnist.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from gan_theory.mnist.data import to_pixels
from gan_theory.mnist.recipes import LABELS, RECIPES, Recipe
from gan_theory.mnist.trained import Trained
from gan_theory.training import Step, check_compiled, train

__all__ = ["Run"]

MEANS = "discriminator_loss", "generator_loss", "mean_d_real", "mean_d_fake", "accuracy"


def _random(*key: int) -> torch.Generator:
    """A stream of random numbers of its own for each key."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


class _SyncedBatchNorm(_BatchNorm):
    """Batch normalisation over the minibatches of all processes; PyTorch's own is for GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        over = [0, *range(2, x.dim())]
        as_row = lambda v: v.view(-1, *[1] * (x.dim() - 2))
        mean_over_all = lambda v: all_reduce(v.mean(over)) / torch.distributed.get_world_size()
        mean = mean_over_all(x)
        variance = mean_over_all((x - as_row(mean)).square())
        n = x.numel() / len(mean) * torch.distributed.get_world_size()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scaled = (x - as_row(mean)) * as_row((variance + self.eps).rsqrt())
        return scaled * as_row(self.weight) + as_row(self.bias)


class Run:
    r"""A GAN in training on images, whose whole state a checkpoint holds.

    Everything random comes from the seed: the initial parameters, `fixed_z`, the noise, and each epoch's
    order of the data, which has a stream of its own for each (seed, epoch). Stopped after any step, saved,
    and loaded into a new run of the same recipe, images and seed, it goes on to the same weights, bit for
    bit, on the same machine with the same number of threads, and compiled only if it was before.

    Several processes share a run by sharing each minibatch: the data, the noise and the parameters are those
    that one process would have, and each computes its part of the gradient. Not so with
    dropout: it takes a mask for each image that a process has, from where the noise is drawn, too.

    Args:
        recipe: The networks and hyperparameters.
        images: (n, 28, 28), uint8.
        seed: From 0 to 2³² − 1.
        labels: (n,), integers from 0 to 9, for a conditional recipe.
        fabric: Where it is computed, launched already; by default in this process, on its processor.
        compiled: Whether training is compiled first, as `train` has it.

    Attributes:
        generator: G.
        discriminator: D.
        average: The running average of G's weights, or None if the recipe has none.
        epoch: The number of epochs completed.
        batch: The number of minibatches completed in the current epoch.
        log: A dict an epoch completed: `epoch`; `discriminator_loss`, `generator_loss` (nats), `mean_d_real`,
            `mean_d_fake` and `accuracy`, D's, means over the epoch's images; `seconds`, of training since the
            beginning, and `images_per_second`.
        fixed_z: 64 points of the noise space, to watch the generator by.
        noise: Where the noise of training is drawn from.

    Raises:
        TypeError: If `recipe` is not a `Recipe`.
        ValueError: If `images`, `labels` or `seed` is not as said above, the number of processes does not
            divide a minibatch, or one of a G with batch normalisation would have a single image.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: np.ndarray,
        seed: int = 0,
        *,
        labels: np.ndarray | None = None,
        fabric: Fabric | None = None,
        compiled: bool = False,
    ) -> None:
        if not isinstance(recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe, such as one of RECIPES, not {type(recipe).__name__}")
        arrays = isinstance(images, np.ndarray) and images.dtype == np.uint8
        if not arrays or images.shape[1:] != (28, 28) or len(images) == 0:
            raise ValueError(f"images must be uint8 (n, 28, 28) with n ≥ 1, not {describe(images)}")
        if not is_integer(seed, 0) or seed >= 2**32:
            raise ValueError(f"seed must be an integer from 0 to {2**32 - 1}, not {seed!r}")
        check_compiled(compiled)
        self.recipe, self.seed, self.compiled = recipe, int(seed), compiled
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        processes = self.fabric.world_size
        sizes = recipe.batch_size, len(images) % recipe.batch_size
        if uneven := [size for size in sizes if size % processes]:
            raise ValueError(
                f"devices must divide each minibatch: {processes} do not divide one of {uneven[0]} images"
            )
        self._data = to_pixels(images).to(self.fabric.device)
        if recipe.conditional:
            if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
                raise ValueError(f"labels must be an array of integers, not {describe(labels)}")
            labels = torch.from_numpy(labels.astype(np.int64))
            columns = recipe.columns(len(images), labels).to(self.fabric.device)
            self._data = torch.cat([self._data, columns], dim=1)
            self._shares = torch.bincount(labels, minlength=LABELS).double()
        random = _random(seed, 0)
        self.generator = recipe.generator(generator=random).to(self.fabric.device)
        self.discriminator = recipe.discriminator(generator=random).to(self.fabric.device)
        batch_norm = any(isinstance(module, _BatchNorm) for module in self.generator.modules())
        if batch_norm and sizes[1] == 1:
            raise ValueError(
                f"images must not leave a minibatch of one, which has no variance, as {len(images)} do"
            )
        self.generator_optimizer = recipe.generator_optimizer(self.generator)
        self.discriminator_optimizer = recipe.discriminator_optimizer(self.discriminator)
        self.average = None
        if recipe.average:
            self.average = AveragedModel(
                self.generator, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=False
            )
        if processes > 1:
            self._share_the_work()
        self.fixed_z = self._sample_noise(64, random)
        self.epoch, self.batch = 0, 0
        self.log: list[dict[str, Any]] = []
        self.noise = random
        self._sums, self._seconds = torch.zeros(len(MEANS), dtype=torch.float64), 0.0

    def train_epoch(self) -> Iterator[Step]:
        """Trains to the end of the current epoch, from wherever in it the run stands.

        Yields:
            Each `Step`; the run may be saved, or left, after any of them. In a run shared by several
            processes it is of this one's part of the minibatch.

        Raises:
            FloatingPointError: If a loss is not finite, or at the end of the epoch a parameter.
        """
        order = torch.randperm(len(self._data), generator=_random(self.seed, self.epoch + 1))
        batches = order.to(self.fabric.device).split(self.recipe.batch_size)
        self._set_rates(len(batches))
        steps = train(
            self._player(self.generator),
            self._player(self.discriminator),
            (self._data.index_select(0, index) for index in map(self._part, batches[self.batch :])),
            lambda n: self._part(self._sample_noise(n * self.fabric.world_size, self.noise)),
            generator_optimizer=self.generator_optimizer,
            discriminator_optimizer=self.discriminator_optimizer,
            simultaneous=self.recipe.simultaneous,
            gradient_penalty=self.recipe.gradient_penalty,
            penalty_every=self.recipe.penalty_every,
            first=self.batch + 1,
            compiled=self.compiled,
        )
        clock = perf_counter()
        for step in steps:
            if self.average:
                self.average.update_parameters(self.generator)
            self.batch += 1
            means = self.fabric.all_reduce(_means(step)).cpu()
            if not means.isfinite().all():
                raise FloatingPointError(
                    f"at step {self.batch} of epoch {self.epoch + 1} the discriminator's loss is"
                    f" {means[0]:.4g} and the generator's {means[1]:.4g}; training cannot go on"
                )
            self._sums += len(batches[self.batch - 1]) * means
            self._set_rates(len(batches))
            self._seconds, clock = self._seconds + perf_counter() - clock, perf_counter()
            yield step
        self._end_epoch()

    def _end_epoch(self) -> None:
        self._check_finite()
        means = (self._sums / len(self._data)).tolist()
        self.epoch, self.batch = self.epoch + 1, 0
        before = self.log[-1]["seconds"] if self.log else 0.0
        line = {"epoch": self.epoch, **dict(zip(MEANS, means, strict=True))}
        line["seconds"] = round(before + self._seconds, 1)
        self.log.append({**line, "images_per_second": round(len(self._data) / self._seconds)})
        self._sums.zero_()
        self._seconds = 0.0

    def trained(self) -> Trained:
        """Both players as they are now, in a copy that training does not change.

        The generator is the average, if there is one. Statistics of batch normalisation are taken anew for
        it, over 10,000 z: those that G has used belong to G's weights.
        """
        generator = deepcopy(self.average.module if self.average else self.generator).cpu()
        if self.average:
            random = _random(self.seed)  # the same each time, and none that training uses
            update_bn((self._sample_noise(1000, random).cpu() for _ in range(10)), generator)
        return Trained(self.recipe, self.seed, generator, deepcopy(self.discriminator).cpu(), list(self.log))

    def _player(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """The network at the precision asked for; losses are taken in float32."""

        def play(x: Tensor) -> Tensor:
            with self.fabric.autocast():
                return network(x).to(x.dtype)

        return play

    def _sample_noise(self, n: int, random: torch.Generator) -> Tensor:
        labels = None
        if self.recipe.conditional:  # as often as in the data: D could tell pairs by the label alone
            labels = self._shares.multinomial(n, replacement=True, generator=random)
        return self.recipe.sample_noise(n, random, labels).to(self.fabric.device)

    def _part(self, whole: Tensor) -> Tensor:
        """What of a minibatch is this process's."""
        return whole.chunk(self.fabric.world_size)[self.fabric.global_rank]

    def _share_the_work(self) -> None:
        """Makes the gradients, and the statistics of batch normalisation, those of all processes together."""
        for module in self.generator.modules():
            if isinstance(module, _BatchNorm):
                module.__class__ = _SyncedBatchNorm
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            optimizer.register_step_pre_hook(self._average_gradients)

    def _average_gradients(self, optimizer: Optimizer, *_: object) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        vector_to_parameters(self.fabric.all_reduce(parameters_to_vector(gradients)), gradients)

    def _set_rates(self, batches: int) -> None:
        """Sets what the optimisers use at the step to come."""
        if self.recipe.schedule:
            for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
                self.recipe.schedule(optimizer, self.epoch * batches + self.batch, self.epoch)

    def save(self, path: Path) -> None:
        """Writes the whole state of the run to a checkpoint, atomically.

        Raises:
            FloatingPointError: If a parameter is not finite; the checkpoint that was there stays as it was.
        """
        self._check_finite()
        progress = {"epoch": self.epoch, "batch": self.batch, "seconds": self._seconds, "log": self.log}
        if self.fabric.is_global_zero:
            tensors = {name: tensor.contiguous() for name, tensor in self.tensors().items()}
            write_checkpoint(path, tensors, {**self._identity(), **progress})

    def load(self, path: Path) -> None:
        """Takes the state of a checkpoint, after which training goes on as if it had never stopped.

        Raises:
            CheckpointError: If the checkpoint is missing, damaged, or of a recipe of another name, another
                seed or another number of images; the run is then left as it was.
        """
        loaded, metadata = read_checkpoint(path)
        for name, ours in self._identity().items():
            if metadata.get(name) != ours:
                raise CheckpointError(f"{path} is of a run with {name} {metadata.get(name)!r}, not {ours!r}")
        tensors = self.tensors()
        if missing := (tensors.keys() - loaded.keys()) | (
            {"epoch", "batch", "seconds", "log"} - metadata.keys()
        ):
            raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}")
        for name, tensor in tensors.items():
            if (found := (loaded[name].dtype, loaded[name].shape)) != (tensor.dtype, tensor.shape):
                raise CheckpointError(f"{name} in {path} is {found}, not {(tensor.dtype, tensor.shape)}")
        for name, tensor in tensors.items():
            tensor.copy_(loaded[name])
        self.noise.set_state(tensors["noise"])
        self.epoch, self.batch, self._seconds, self.log = (
            metadata[name] for name in ("epoch", "batch", "seconds", "log")
        )

    @classmethod
    def from_checkpoint(cls, path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> "Run":
        """The run that a checkpoint holds, on the images, and labels, that it was trained on.

        Raises:
            CheckpointError: As `load`, or if the checkpoint is of no recipe that there is.
        """
        _, metadata = read_checkpoint(path)
        recipe, seed = metadata.get("recipe"), metadata.get("seed")
        if recipe not in RECIPES or not isinstance(seed, int):
            raise CheckpointError(f"{path} is of a run with recipe {recipe!r} and seed {seed!r}")
        run = cls(RECIPES[recipe], images, seed, labels=labels)
        run.load(path)
        return run

    def _check_finite(self) -> None:
        for name, tensor in self.tensors().items():
            if not tensor.isfinite().all():
                raise FloatingPointError(
                    f"after step {self.batch} of epoch {self.epoch + 1} {name} is not finite;"
                    " training cannot go on"
                )

    def _identity(self) -> dict[str, Any]:
        return {"recipe": self.recipe.name, "seed": self.seed, "images": len(self._data)}

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the run's state by name: not copies, but for that of the noise's generator."""
        tensors = {"sums": self._sums, "noise": self.noise.get_state()}
        for player in ("generator", "discriminator"):
            network: nn.Module = getattr(self, player)
            optimizer: Optimizer = getattr(self, f"{player}_optimizer")
            tensors |= {f"{player}.{name}": tensor for name, tensor in network.state_dict().items()}
            for name, parameter in network.named_parameters():
                for moment, tensor in optimizer.state[parameter].items():
                    tensors[f"{player}.{name}.{moment}"] = tensor
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        return tensors


def _means(step: Step) -> Tensor:
    """What the log says of a step: `MEANS`."""
    real, fake = step.logits_real, step.logits_fake
    accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
    of_d = real.sigmoid().mean(), fake.sigmoid().mean()
    return torch.stack([step.discriminator_loss, step.generator_loss, *of_d, accuracy])
