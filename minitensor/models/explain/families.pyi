from models.explain.families import *
