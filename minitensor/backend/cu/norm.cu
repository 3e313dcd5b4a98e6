// y = (x - mean) rstd weight + bias with rstd = 1 / sqrt(mean((x - mean)^2) + eps); RMS norm (centred = 0) has mean 0. weight and bias
// may be null. One block a row.
extern "C" __global__ void norm_forward(const REAL* x, const REAL* weight, const REAL* bias, REAL* y, REAL* mean, REAL* rstd,
                                        long long width, REAL eps, int centred) {
    x = ROW(x);
    y = ROW(y);
    REAL middle = 0, square = 0;
    if (centred) {
        FOR_ROW(j) middle += x[j];
        middle = block_sum(middle) / width;
    }
    FOR_ROW(j) square += (x[j] - middle) * (x[j] - middle);
    REAL factor = 1 / sqrt(block_sum(square) / width + eps);
    if (factor == 0) {  // the squares overflow: measured in the greatest element they do not
        REAL top = 0;
        square = 0;
        FOR_ROW(j) top = larger(top, fabs(x[j] - middle));
        top = block_max(top);
        FOR_ROW(j) square += (x[j] - middle) / top * ((x[j] - middle) / top);
        factor = 1 / (top * sqrt(block_sum(square) / width + eps / top / top));
    }
    FOR_ROW(j) y[j] = (x[j] - middle) * factor * (weight ? weight[j] : 1) + (bias ? bias[j] : 0);
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = middle;
        rstd[blockIdx.x] = factor;
    }
}

// With u = (x - mean) rstd and h = g weight:  dL/dx = rstd (h - mean(h) - u mean(h u)); RMS norm has no mean(h). One block a row.
extern "C" __global__ void norm_backward(const REAL* x, const REAL* weight, const REAL* g, const REAL* mean, const REAL* rstd,
                                         REAL* gx, long long width, int centred) {
    x = ROW(x);
    g = ROW(g);
    gx = ROW(gx);
    REAL middle = mean[blockIdx.x], factor = rstd[blockIdx.x], sum_h = 0, sum_hu = 0;
    FOR_ROW(j) {
        REAL h = g[j] * (weight ? weight[j] : 1);
        sum_h += h;
        sum_hu += h * (x[j] - middle) * factor;
    }
    sum_h = centred ? block_sum(sum_h) / width : 0;
    sum_hu = block_sum(sum_hu) / width;
    FOR_ROW(j) gx[j] = factor * (g[j] * (weight ? weight[j] : 1) - sum_h - (x[j] - middle) * factor * sum_hu);
}

// Column sums of g u and of g over `chunk` rows, in sums (chunks, 2, width): a thread takes column j of chunk blockIdx.y. The caller
// adds the chunks.
extern "C" __global__ void norm_columns(const REAL* x, const REAL* g, const REAL* mean, const REAL* rstd, REAL* sums, long long rows,
                                        long long width, long long chunk) {
    long long j = THREAD, first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows;
    if (j >= width) return;
    REAL gu = 0, sum = 0;
    for (long long i = first; i < last; i++) {
        REAL value = g[i * width + j];
        gu += value * (x[i * width + j] - mean[i]) * rstd[i];
        sum += value;
    }
    sums[blockIdx.y * 2 * width + j] = gu;
    sums[(blockIdx.y * 2 + 1) * width + j] = sum;
}
