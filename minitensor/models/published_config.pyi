from models.published_config import *
