from models.encoder_decoder import *
