from models.explain.agreement import *
