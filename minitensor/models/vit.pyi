from models.vit import *
