"""torch: scores of Gaussian mixtures by matrix products. S_k = a^2 C_k + b^2 I, r = softmax of
log pi_k - 1/2 (x - a m_k)^T S_k^-1 (x - a m_k) - 1/2 log det S_k, score = -sum_k r_k S_k^-1 (x - a m_k).

Every form expands the squares so that all components share one product; factors that depend on (a, b) alone are prepared, not timed.
"""
from peer import serve, threads


class Solver:
    gives_scores = True

    def __init__(self, workload, array):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.version = f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
        self.k, self.d, self.rank, self.type = workload["n"], workload["d"], workload["rank"], workload["type"]
        tensor = lambda name, *shape: torch.from_numpy(array(name, *shape))
        self.means = tensor("means", self.k, self.d)
        if self.type == "spherical":
            self.variances = tensor("variances", self.k, 1)
        elif self.type == "diagonal":
            self.variances = tensor("variances", self.k, self.d)
        elif self.type == "low-rank":
            self.variances = tensor("diagonals", self.k, self.d)
            self.factors = tensor("factors", self.k, self.d, self.rank)
        else:
            self.matrices = tensor("matrices", self.k, self.d, self.d)

    def prepare(self, a, b):
        torch = self.torch
        if self.type == "full":
            self.prepare_full(a, b)
            return
        s = a * a * self.variances + b * b
        self.inverse = 1 / s  # [K, 1] or [K, d]
        self.scaled = a * self.means * self.inverse
        log_determinant = torch.log(s).sum(1) * (self.d if self.type == "spherical" else 1)
        self.bias = -0.5 * ((a * self.means * self.scaled).sum(1) + log_determinant)
        if self.type == "low-rank":
            self.prepare_low_rank(a, s)

    def prepare_low_rank(self, a, s):
        """S^-1 = D^-1 - P P^T with P = D^-1/2 V L^-T, V = a D^-1/2 W, L L^T = I + V^T V (Woodbury)."""
        torch = self.torch
        v = a * self.factors / s.sqrt()[:, :, None]
        lower = torch.linalg.cholesky(torch.eye(self.rank) + v.transpose(1, 2) @ v)
        p = torch.linalg.solve_triangular(lower, v.transpose(1, 2), upper=False) / s.sqrt()[:, None, :]  # [K, r, d]
        self.projections = p.reshape(self.k * self.rank, self.d)
        self.offsets = a * torch.einsum("krd,kd->kr", p, self.means).reshape(-1)
        self.bias = self.bias - torch.log(torch.diagonal(lower, dim1=1, dim2=2)).sum(1)

    def prepare_full(self, a, b):
        """S^-1 = P^T P with P = L^-1, S = L L^T: coordinates white under each component."""
        torch = self.torch
        lower = torch.linalg.cholesky(a * a * self.matrices.double() + b * b * torch.eye(self.d, dtype=torch.float64))
        p = torch.linalg.solve_triangular(lower, torch.eye(self.d, dtype=torch.float64).expand(self.k, -1, -1), upper=False)
        self.offsets = (a * torch.einsum("krd,kd->kr", p, self.means.double())).reshape(-1).float()
        self.projections = p.reshape(self.k * self.d, self.d).float()
        self.bias = -torch.log(torch.diagonal(lower, dim1=1, dim2=2)).sum(1).float()

    def evaluate(self, queries):
        x = self.torch.from_numpy(queries)
        return getattr(self, {"spherical": "spherical", "diagonal": "diagonal", "low-rank": "low_rank", "full": "full"}[self.type])(x).numpy()

    def spherical(self, x):
        torch = self.torch
        squares = (x * x).sum(1, keepdim=True)
        logits = torch.addmm(self.bias, x, self.scaled.T)
        logits = torch.addcmul(logits, squares, self.inverse.T, value=-0.5)
        weights = torch.softmax(logits, 1)
        return torch.addmm(-x * (weights @ self.inverse), weights, self.scaled)

    def diagonal_logits(self, x):
        return self.torch.addmm(self.bias, x, self.scaled.T).addmm_(x * x, self.inverse.T, alpha=-0.5)

    def diagonal_score(self, x, weights):
        return self.torch.addmm(-x * (weights @ self.inverse), weights, self.scaled)

    def diagonal(self, x):
        return self.diagonal_score(x, self.torch.softmax(self.diagonal_logits(x), 1))

    def low_rank(self, x):
        coordinates = self.torch.addmm(-self.offsets, x, self.projections.T).view(-1, self.k, self.rank)
        weights = self.torch.softmax(self.diagonal_logits(x) + 0.5 * (coordinates * coordinates).sum(2), 1)
        weighted = (weights[:, :, None] * coordinates).view(len(x), -1)
        return self.diagonal_score(x, weights).addmm_(weighted, self.projections)

    def full(self, x):
        coordinates = self.torch.addmm(-self.offsets, x, self.projections.T).view(-1, self.k, self.d)
        weights = self.torch.softmax(self.bias - 0.5 * (coordinates * coordinates).sum(2), 1)
        return -(weights[:, :, None] * coordinates).view(len(x), -1) @ self.projections


serve(Solver)
