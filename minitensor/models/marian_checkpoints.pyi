from models.marian_checkpoints import *
