from models.checks import *
