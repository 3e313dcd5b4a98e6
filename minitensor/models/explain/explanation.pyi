from models.explain.explanation import *
