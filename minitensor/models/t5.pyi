from models.t5 import *
