from models.explain.arguments import *
