// s, ds/dx and x, with y = x s: kind 0 GELU, s = Phi(x); kind 1 its approximation by tanh; kind 2 SiLU, s the sigmoid. x is kept
// where s is neither 0 nor 1, so that no product with an infinity is NaN.
__device__ void gate(REAL& x, int kind, REAL* s, REAL* slope) {
    REAL most = kind == 2 ? REAL(1e30) : REAL(40);
    x = x > most ? most : x < -most ? -most : x;
    if (kind == 2) {
        REAL e = exp(-fabs(x)), d = 1 + e;
        *s = (x >= 0 ? 1 : e) / d;
        *slope = e / d / d;
    } else if (kind == 0) {
        *s = REAL(0.5) * (1 + erf(x * REAL(0.70710678118654752440)));
        *slope = exp(REAL(-0.5) * x * x) * REAL(0.39894228040143267794);
    } else {
        // 0.5 (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3).
        REAL root = REAL(0.79788456080286535588), cube = REAL(0.044715);
        *s = REAL(0.5) * (1 + tanh(root * (x + cube * x * x * x)));
        *slope = 2 * *s * (1 - *s) * root * (1 + 3 * cube * x * x);
    }
}

extern "C" __global__ void gate_forward(const REAL* x, REAL* y, long long count, int kind) {
    long long i = THREAD;
    if (i >= count) return;
    REAL near = x[i], s, slope;
    gate(near, kind, &s, &slope);
    y[i] = near * s + (x[i] > near ? x[i] - near : 0);
}

extern "C" __global__ void gate_backward(const REAL* x, const REAL* g, REAL* gx, long long count, int kind) {
    long long i = THREAD;
    if (i >= count) return;
    REAL near = x[i], s, slope;
    gate(near, kind, &s, &slope);
    gx[i] = g[i] * (s + near * slope);
}

// With y = max(x, 0):  dL/dx = g where y > 0, else 0 (NaN of a NaN).
extern "C" __global__ void relu_backward(const REAL* y, const REAL* g, REAL* gx, long long count) {
    long long i = THREAD;
    if (i < count) gx[i] = g[i] * (y[i] > 0);
}
