// With a = (1 - eps) w_t, b_c = eps / C w_c and B = sum of b_c, for each row x with target t:
//     loss = (a + B) log(sum exp x) - a x_t - sum_c b_c x_c,    d loss / dx = (a + B) softmax(x) - a onehot(t) - b.
// The term of t is kept apart from the sum of the others, so that no digit is lost if it is nearly all. 0 if t is ignored or
// idle (weight 0, and no finite maximum). weight may be null (all 1), and gx if no gradient is wanted. One block a row.
extern "C" __global__ void cross_entropy(const REAL* x, const long long* targets, const REAL* weight, REAL* loss, REAL* gx,
                                         long long width, long long ignored, REAL smoothing) {
    long long t = targets[blockIdx.x];
    bool real = t != ignored && t >= 0 && t < width;  // check_ids tells of targets that are no class
    x = ROW(x);
    if (gx) gx = ROW(gx);
    REAL top = x[0], sum = 0, share = smoothing / width, smooth = 0, total_b = 0;
    FOR_ROW(j) top = larger(top, x[j]);
    top = block_max(top);
    FOR_ROW(j) {
        REAL b = share * (weight ? weight[j] : 1);
        if (j != t) sum += exp(x[j] - top);
        if (b != 0) smooth += b * (x[j] - top);
        total_b += b;
    }
    sum = block_sum(sum);
    smooth = block_sum(smooth);
    total_b = block_sum(total_b);
    REAL a = real ? (1 - smoothing) * (weight ? weight[t] : 1) : 0;
    if (a + total_b == 0 && !isfinite(top)) real = false;
    REAL mine = real ? exp(x[t] - top) : 0, total = sum + mine;
    REAL chosen = a != 0 ? a * (x[t] - top) : 0;  // 0 * -inf is NaN
    if (threadIdx.x == 0) loss[blockIdx.x] = real ? (a + total_b) * log1p(sum + (mine - 1)) - chosen - smooth : 0;
    if (gx) FOR_ROW(j) {
        REAL b = share * (weight ? weight[j] : 1), slope = (a + total_b) * exp(x[j] - top) / total;
        gx[j] = real ? (j == t ? (total_b * mine - a * sum) / total : slope) - b : 0;
    }
}
