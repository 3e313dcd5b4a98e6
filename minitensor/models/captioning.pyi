from models.captioning import *
