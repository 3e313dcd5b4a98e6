from models.classification import *
