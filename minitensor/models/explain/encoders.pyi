from models.explain.encoders import *
