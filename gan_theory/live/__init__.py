"""Live figures: PyTorch under the reader's hand, with a kernel and without one."""

from gan_theory.live.figure import LiveFigure, Pad, Slider
from gan_theory.live.game import OneDimensionalGame
from gan_theory.live.picture import Area, Arrows, Images, Line, Number, Panel, Point
from gan_theory.live.training import LiveTraining

__all__ = [
    "Area",
    "Arrows",
    "Images",
    "Line",
    "LiveFigure",
    "LiveTraining",
    "Number",
    "OneDimensionalGame",
    "Pad",
    "Panel",
    "Point",
    "Slider",
]
