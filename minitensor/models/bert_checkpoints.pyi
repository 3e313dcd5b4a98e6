from models.bert_checkpoints import *
