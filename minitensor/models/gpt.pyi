from models.gpt import *
