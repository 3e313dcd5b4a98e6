from models.seq2seq import *
