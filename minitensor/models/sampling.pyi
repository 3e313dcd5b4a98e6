from models.sampling import *
