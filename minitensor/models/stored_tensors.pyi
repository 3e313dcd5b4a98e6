from models.stored_tensors import *
