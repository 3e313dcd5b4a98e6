"""Optimisers, learning-rate schedules, clipping, and averages of weights.

optimizer.py   what every optimiser shares; flat.py its memory: all parameters in one array;
parameters.py what it takes sgd adam rmsprop adafactor   one update rule per file, with its paper
schedules.py   the learning rate as a function of the step; scaler.py that of a loss for float16
deferred.py    steps that only finite numbers reach, without a wait
"""

from minitensor.optim.adafactor import Adafactor
from minitensor.optim.adam import Adam, AdamW
from minitensor.optim.clip import clip_grad_norm_, clip_grad_value_
from minitensor.optim.deferred import DeferredCheck
from minitensor.optim.ema import EMA
from minitensor.optim.optimizer import Optimizer
from minitensor.optim.rmsprop import RMSprop
from minitensor.optim.scaler import GradScaler
from minitensor.optim.schedules import CosineLR, InverseSqrtLR, LinearWarmup, NoamLR, Schedule, StepLR
from minitensor.optim.sgd import SGD

__all__ = [
    "EMA", "SGD", "Adafactor", "Adam", "AdamW", "CosineLR", "DeferredCheck", "GradScaler", "InverseSqrtLR", "LinearWarmup",
    "NoamLR", "Optimizer", "RMSprop", "Schedule", "StepLR", "clip_grad_norm_", "clip_grad_value_",
]  # fmt: skip
