from models.vit_checkpoints import *
