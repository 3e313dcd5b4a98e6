from models.losses import *
