// With a = (1 - eps) w_t, b_c = eps / C w_c and B = sum of b_c, for each row x with target t, top = max x and
// rest = sum of exp(x_c - top) over c != t:
//     loss = (a + B) log(sum exp x) - a x_t - sum_c b_c x_c,    d loss / dx = (a + B) softmax(x) - a onehot(t) - b.
// The term of t is kept apart from the sum of the others, so that no digit is lost if it is nearly all. 0 if t is ignored or
// idle (weight 0, and no finite maximum). weight may be null (all 1). One block a row.
__device__ REAL total_share(const REAL* weight, long long width, REAL smoothing) {
    if (!weight) return smoothing;
    REAL sum = 0;
    FOR_ROW(j) sum += smoothing / width * weight[j];
    return block_sum(sum);
}

extern "C" __global__ void cross_entropy(const REAL* x, const long long* targets, const REAL* weight, REAL* loss, REAL* tops,
                                         REAL* rests, long long width, long long ignored, REAL smoothing) {
    long long t = targets[blockIdx.x];
    bool real = t != ignored && t >= 0 && t < width;  // check_ids tells of targets that are no class
    x = ROW(x);
    REAL top = x[0], sum = 0, smooth = 0, total_b = total_share(weight, width, smoothing);
    FOR_ROW(j) top = larger(top, x[j]);
    top = block_max(top);
    FOR_ROW(j) {
        REAL b = smoothing / width * (weight ? weight[j] : 1);
        if (j != t) sum += exp(x[j] - top);
        if (b != 0) smooth += b * (x[j] - top);
    }
    sum = block_sum(sum);
    smooth = block_sum(smooth);
    if (threadIdx.x != 0) return;
    REAL a = real ? (1 - smoothing) * (weight ? weight[t] : 1) : 0;
    if (a + total_b == 0 && !isfinite(top)) real = false;
    REAL mine = real ? exp(x[t] - top) : 0;
    REAL chosen = a != 0 ? a * (x[t] - top) : 0;  // 0 * -inf is NaN
    loss[blockIdx.x] = real ? (a + total_b) * log1p(sum + (mine - 1)) - chosen - smooth : 0;
    tops[blockIdx.x] = top;
    rests[blockIdx.x] = sum;
}

// gx = g d loss / dx, from x again: nothing of its size is kept in between.
extern "C" __global__ void cross_entropy_gradient(const REAL* x, const long long* targets, const REAL* weight, const REAL* tops,
                                                  const REAL* rests, const REAL* g, REAL* gx, long long width, long long ignored,
                                                  REAL smoothing) {
    long long t = targets[blockIdx.x];
    bool real = t != ignored && t >= 0 && t < width;
    x = ROW(x);
    gx = ROW(gx);
    REAL top = tops[blockIdx.x], rest = rests[blockIdx.x], factor = g[blockIdx.x];
    REAL total_b = total_share(weight, width, smoothing), a = real ? (1 - smoothing) * (weight ? weight[t] : 1) : 0;
    if (a + total_b == 0 && !isfinite(top)) real = false;
    REAL mine = real ? exp(x[t] - top) : 0, total = rest + mine;
    FOR_ROW(j) {
        REAL b = smoothing / width * (weight ? weight[j] : 1), slope = (a + total_b) * exp(x[j] - top) / total;
        gx[j] = real ? ((j == t ? (total_b * mine - a * rest) / total : slope) - b) * factor : 0;
    }
}
