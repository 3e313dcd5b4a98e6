from models.published_search import *
