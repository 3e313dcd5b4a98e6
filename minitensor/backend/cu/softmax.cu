// y = exp(x - top) / sum, or x - top - log(sum), with top the maximum of the row. One block a row. The logarithm is log1p of the
// sum less one of the terms that are 1: so a logarithm near 0 keeps its digits.
extern "C" __global__ void softmax_forward(const REAL* x, REAL* y, long long width, int logarithm) {
    x = ROW(x);
    y = ROW(y);
    REAL top = x[0], sum = 0;
    FOR_ROW(j) top = larger(top, x[j]);
    top = block_max(top);
    REAL at_top = 0, shift = 0;
    FOR_ROW(j) {
        if (x[j] == top)
            at_top += 1;
        else
            sum += exp(x[j] - top);
    }
    at_top = block_sum(at_top);
    sum = block_sum(sum);
    if (logarithm) shift = log1p(sum + (at_top - 1));
    sum += at_top;
    FOR_ROW(j) y[j] = logarithm ? x[j] - top - shift : exp(x[j] - top) / sum;
}

// dL/dx = y (g - <g, y>); for the logarithm dL/dx = g - exp(y) sum(g), in the form that keeps its digits if exp(y) is nearly 1.
// One block a row.
extern "C" __global__ void softmax_backward(const REAL* y, const REAL* g, REAL* gx, long long width, int logarithm) {
    y = ROW(y);
    g = ROW(g);
    gx = ROW(gx);
    REAL sum = 0;
    FOR_ROW(j) sum += logarithm ? g[j] : g[j] * y[j];
    sum = block_sum(sum);
    FOR_ROW(j) {
        if (!logarithm)
            gx[j] = y[j] * (g[j] - sum);
        else
            gx[j] = y[j] > REAL(-0.01) ? (g[j] - sum) - expm1(y[j]) * sum : g[j] - exp(y[j]) * sum;
    }
}
