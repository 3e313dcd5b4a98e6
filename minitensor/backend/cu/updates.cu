// p = keep p;  g = g + coupled p;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  p = p - size m / (sqrt(v) + eps).
// Kingma and Ba, "Adam", 2015, with both bias corrections folded into size and eps by the caller.
extern "C" __global__ void adam(REAL* p, const REAL* g, REAL* m, REAL* v, long long count, REAL beta1, REAL beta2, REAL keep,
                                REAL coupled, REAL eps, REAL size) {
    long long i = THREAD;
    if (i >= count) return;
    REAL value = p[i] * keep, slope = coupled == 0 ? g[i] : g[i] + coupled * value;  // 0 times an infinite weight is NaN
    m[i] = beta1 * m[i] + (1 - beta1) * slope;
    v[i] = beta2 * v[i] + (1 - beta2) * slope * slope;
    p[i] = value - size * m[i] / (sqrt(v[i]) + eps);
}
