from models.explain.residuals import *
