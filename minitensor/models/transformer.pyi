from models.transformer import *
