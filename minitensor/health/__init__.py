"""``python -m minitensor doctor``: what is installed and whether it works, and the cure for what
does not.

``host.py`` looks at Python, NumPy and the compiled kernels, ``gpu.py`` at CuPy and the GPUs,
``processes.py`` at MPI and NCCL; ``checkup.py`` runs them and prints.
"""
