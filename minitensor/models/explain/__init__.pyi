from models.explain import *
