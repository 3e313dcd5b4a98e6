from models.gpt_checkpoints import *
