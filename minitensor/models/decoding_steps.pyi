from models.decoding_steps import *
