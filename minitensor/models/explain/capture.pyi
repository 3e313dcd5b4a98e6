from models.explain.capture import *
