from models.explain.gates import *
