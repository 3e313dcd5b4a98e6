from models.explain.reading import *
