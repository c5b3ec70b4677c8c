"""torch: reverse trajectories in float32, the state kept in torch and one denoised mean per step: a mixture of spherical Gaussians by two
products, points by fused attention. Steps are DDIM, or Euler-Maruyama of the reverse SDE of the Ornstein-Uhlenbeck process.
"""
from peer import half_squares, serve, threads, timed


class Solver:
    def __init__(self, workload, array):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.version = f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
        self.n, self.d = workload["n"], workload["d"]
        if workload["kind"] == "mixture":
            self.means = torch.from_numpy(array("means", self.n, self.d))
            self.variances = torch.from_numpy(array("variances", self.n))
            self.squares = (self.means * self.means).sum(1)
            self.denoised = self.of_mixture
        else:
            rows = array("rows", self.n, self.d)
            self.half_squares = torch.from_numpy(half_squares(rows))
            self.rows = torch.from_numpy(rows)[None, None]
            self.denoised = self.of_points

    def of_mixture(self, x, a, b):
        torch = self.torch
        s = a * a * self.variances + b * b
        logits = torch.addmm(-0.5 * (a * a * self.squares / s + self.d * torch.log(s)), x, (a * self.means / s[:, None]).T)
        logits = torch.addcmul(logits, (x * x).sum(1, keepdim=True), 1 / s[None], value=-0.5)
        weights = torch.softmax(logits, 1)
        gain = a * self.variances / s
        return torch.addmm(x * (weights @ gain)[:, None], weights, self.means * (1 - a * gain)[:, None])

    def of_points(self, x, a, b):
        queries = (x * (a / (b * b)))[None, None]
        mask = (-((a / b) ** 2) * self.half_squares).view(1, 1, 1, -1).expand(1, 1, len(x), -1)
        return self.torch.nn.functional.scaled_dot_product_attention(queries, self.rows, self.rows, attn_mask=mask, scale=1.0)[0, 0]

    def other(self, request):
        """`levels` [[a, b, OU time]], of which only the steps from the `measured` levels are made."""
        torch = self.torch
        levels, count = request["levels"], request["count"]
        x = torch.randn(count, self.d)
        step = self.ddim if request["sampler"] == "ddim" else self.euler_maruyama

        def run():
            state = x
            for k in request["measured"]:
                state = step(state, levels[k], levels[k + 1])

        return timed(run)

    def ddim(self, x, now, then):
        mean = self.denoised(x, now[0], now[1])
        ratio = then[1] / now[1]
        return x * ratio + mean * (then[0] - ratio * now[0])

    def euler_maruyama(self, x, now, then):
        a, b, h = now[0], now[1], now[2] - then[2]
        score = (a * self.denoised(x, a, b) - x) / (b * b)
        return x + h * (x + 2 * score) + (2 * h) ** 0.5 * self.torch.randn_like(x)


serve(Solver)
