from models.speech import *
