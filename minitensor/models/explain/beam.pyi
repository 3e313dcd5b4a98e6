from models.explain.beam import *
