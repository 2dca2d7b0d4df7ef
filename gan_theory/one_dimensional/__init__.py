"""A GAN on the line: Algorithm 1 on a known density, so that every step of the run can be judged exactly."""

from gan_theory.one_dimensional.run import (
    RUNS,
    TARGETS,
    Settings,
    Snapshot,
    as_discriminator,
    best_response,
    judge,
    play,
)

__all__ = ["RUNS", "TARGETS", "Settings", "Snapshot", "as_discriminator", "best_response", "judge", "play"]
