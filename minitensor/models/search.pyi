from models.search import *
