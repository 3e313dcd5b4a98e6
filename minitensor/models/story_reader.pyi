from models.story_reader import *
