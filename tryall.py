import sys
import time

import torch

from comporta import cells
from comporta.kernels import compile_cell, run, use

for n in sys.argv[1:] or cells.names():
    torch.manual_seed(0)
    c = cells.get(n)
    t0 = time.time()
    B, T, D, H = 5, 7, 6, 10
    sz = {"D": D, "H": H}
    w = {
        a: (torch.randn(*[sz[l] for l in s], dtype=torch.float64) * 0.4)
        for a, s in c.parameters.items()
    }
    x = torch.randn(B, T, D, dtype=torch.float64)
    st = [torch.randn(B, H, dtype=torch.float64) * 0.5 for _ in c.states]
    p = compile_cell(c)
    g = torch.randn(B, T, H, dtype=torch.float64)

    def go(backend, dt):
        W = {a: v.to(dt).clone().requires_grad_() for a, v in w.items()}
        X = x.to(dt).clone().requires_grad_()
        S = [s.to(dt).clone().requires_grad_() for s in st]
        with use(backend):
            y, f = run(p, X, S, W)
        (y * g.to(dt)).sum().backward()
        return [y, *f, X.grad, *[s.grad for s in S], *[v.grad for v in W.values()]]

    try:
        a = go("reference", torch.float64)
        if any(v is None for v in a):
            print(n, "NONE grad")
        b = go("cpu", torch.float32)
        err = max(
            float((u - v).abs().max() / (1 + u.abs().max()))
            for u, v in zip(a, b)
            if u is not None and v is not None
        )
        print(f"{n:24s} err {err:.1e}  {time.time() - t0:.2f}s", "BAD" if not err < 1e-4 else "")
    except Exception as e:
        print(n, "FAIL", type(e).__name__, str(e)[:300])
