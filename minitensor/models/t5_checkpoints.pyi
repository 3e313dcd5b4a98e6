from models.t5_checkpoints import *
