from models.bert import *
