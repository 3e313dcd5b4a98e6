// Pairs of rows lie `rows` rows apart: of the N pairs of groups, each of `rows` rows, block n compares row n % rows of the first
// group of pair n / rows with that of the second. With p and q their softmax and d = log p - log q:
//     loss = sum (p - q) d / 2,
//     dL/dx = g / 2 (p (d - <p, d>) + p - q),      dL/dy = g / 2 (q (<q, d> - d) + q - p).
// A class that neither can have counts nothing. One block a pair of rows.
__device__ const REAL* first_of_pair(const REAL* x, long long width, long long rows) {
    return x + ((blockIdx.x / rows) * 2 * rows + blockIdx.x % rows) * width;
}

// The maximum of a row, and the logarithm of the sum of exp(x - top): log1p of the sum less one of the terms that are 1.
__device__ void norm_of(const REAL* x, long long width, REAL* top, REAL* shift) {
    REAL most = x[0], sum = 0, at_top = 0;
    FOR_ROW(j) most = larger(most, x[j]);
    most = block_max(most);
    FOR_ROW(j) {
        if (x[j] == most)
            at_top += 1;
        else
            sum += exp(x[j] - most);
    }
    at_top = block_sum(at_top);
    *shift = log1p(block_sum(sum) + (at_top - 1));
    *top = most;
}

__device__ REAL apart(REAL log_p, REAL log_q) { return log_p == log_q ? 0 : log_p - log_q; }  // -inf and -inf are no NaN

extern "C" __global__ void symmetric_kl(const REAL* x, REAL* loss, REAL* tops, REAL* shifts, long long width, long long rows) {
    x = first_of_pair(x, width, rows);
    const REAL* y = x + rows * width;
    REAL top_x, shift_x, top_y, shift_y, sum = 0;
    norm_of(x, width, &top_x, &shift_x);
    norm_of(y, width, &top_y, &shift_y);
    FOR_ROW(j) {
        REAL log_p = x[j] - top_x - shift_x, log_q = y[j] - top_y - shift_y, d = apart(log_p, log_q);
        sum += isinf(d) ? fabs(d) : (exp(log_p) - exp(log_q)) * d;  // the difference may have underflowed to 0
    }
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    loss[blockIdx.x] = sum / 2;
    tops[2 * blockIdx.x] = top_x;
    tops[2 * blockIdx.x + 1] = top_y;
    shifts[2 * blockIdx.x] = shift_x;
    shifts[2 * blockIdx.x + 1] = shift_y;
}

extern "C" __global__ void symmetric_kl_gradient(const REAL* x, const REAL* tops, const REAL* shifts, const REAL* g, REAL* gx,
                                                 long long width, long long rows) {
    const REAL* first = first_of_pair(x, width, rows);
    REAL* gradient = gx + (first - x);
    const REAL* y = first + rows * width;
    REAL top_x = tops[2 * blockIdx.x], top_y = tops[2 * blockIdx.x + 1];
    REAL shift_x = shifts[2 * blockIdx.x], shift_y = shifts[2 * blockIdx.x + 1], factor = g[blockIdx.x] / 2;
    REAL sum_p = 0, sum_q = 0;
    FOR_ROW(j) {
        REAL log_p = first[j] - top_x - shift_x, log_q = y[j] - top_y - shift_y, d = apart(log_p, log_q);
        // An infinite d is of a class that only one row can have: that row has no gradient, and for the other it counts nothing.
        bool only_p = isinf(d) && d > 0, only_q = isinf(d) && d < 0;
        sum_p += only_p ? d - d : (only_q ? 0 : exp(log_p) * d);
        sum_q += only_q ? d - d : (only_p ? 0 : exp(log_q) * d);
    }
    sum_p = block_sum(sum_p);
    sum_q = block_sum(sum_q);
    // A gradient adds up to 0: that of a class which is nearly sure is minus the others', where p - q has lost its digits.
    long long sure_p = -1, sure_q = -1;
    REAL others_p = 0, others_q = 0;
    FOR_ROW(j) {
        REAL log_p = first[j] - top_x - shift_x, log_q = y[j] - top_y - shift_y, d = apart(log_p, log_q);
        REAL p = exp(log_p), q = exp(log_q);
        REAL for_x = factor * (p * (d - sum_p) + p - q), for_y = factor * (q * (sum_q - d) + q - p);
        gradient[j] = for_x;
        gradient[j + rows * width] = for_y;
        if (log_p > REAL(-0.01))
            sure_p = j;
        else
            others_p += for_x;
        if (log_q > REAL(-0.01))
            sure_q = j;
        else
            others_q += for_y;
    }
    others_p = block_sum(others_p);
    others_q = block_sum(others_q);
    if (sure_p >= 0) gradient[sure_p] = -others_p;
    if (sure_q >= 0) gradient[sure_q + rows * width] = -others_q;
}
