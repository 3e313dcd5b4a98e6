from models.explain.look import *
