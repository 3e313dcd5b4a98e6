from models.explain.page import *
