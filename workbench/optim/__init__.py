"""How weights move: optimizers, learning-rate schedules, and their moving average."""

from workbench.optim.ema import Ema, EMASettings
from workbench.optim.optimizers import Optimizer
from workbench.optim.schedule_free import Averaging
from workbench.optim.schedules import Schedule

__all__ = ["Averaging", "EMASettings", "Ema", "Optimizer", "Schedule"]
