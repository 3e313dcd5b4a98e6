from models.marian_text import *
