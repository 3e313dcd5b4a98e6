from models.language_model import *
