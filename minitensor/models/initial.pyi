from models.initial import *
