from models.published_values import *
