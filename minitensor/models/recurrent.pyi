from models.recurrent import *
