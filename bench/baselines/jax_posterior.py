"""JAX, compiled: two products and a softmax, in chunks of 256 queries. Its thread pool takes every processor it may use, so that it is
kept to as many as there are threads."""
import os

from peer import half_squares, in_chunks, serve, threads


class Solver:
    def __init__(self, workload, array):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        import jax
        import numpy as np

        self.np, self.jax = np, jax
        self.version = f"jax {jax.__version__}"
        rows = array("rows", workload["n"], workload["d"])
        self.rows, self.half_squares = jax.numpy.asarray(rows), jax.numpy.asarray(half_squares(rows))

    def prepare(self, a, b):
        scale, square = a / (b * b), (a / b) ** 2

        @self.jax.jit
        def denoise(x, rows, half_squares):
            return self.jax.nn.softmax((x * scale) @ rows.T - square * half_squares, axis=1) @ rows

        self.denoise = denoise

    def evaluate(self, x):
        return in_chunks(lambda part: self.np.asarray(self.denoise(part, self.rows, self.half_squares)), x)


serve(Solver)
