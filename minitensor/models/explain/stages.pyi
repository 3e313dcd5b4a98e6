from models.explain.stages import *
