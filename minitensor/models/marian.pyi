from models.marian import *
