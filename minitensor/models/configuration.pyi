from models.configuration import *
