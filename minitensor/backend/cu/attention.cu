// Softmax of the scores that the mask allows, then dropout: p = softmax(scale s), d = p drop. s is (batch, heads, queries, width); the mask
// is read by its own steps, 0 along the axes where it is repeated; drop has the shape of s; either may be null. A row that is
// allowed nothing is zero, and a score that is not allowed is not read. One block a row.
extern "C" __global__ void attention_forward(const REAL* s, const bool* mask, const REAL* drop, REAL* p, REAL* d, long long width,
                                             long long heads, long long queries, long long step_batch, long long step_head,
                                             long long step_query, long long step_key, REAL scale) {
    long long row = blockIdx.x;
    s = ROW(s);
    p = ROW(p);
    if (mask) mask += row / queries / heads * step_batch + row / queries % heads * step_head + row % queries * step_query;
    REAL lowest = -1 / REAL(0), top = lowest, sum = 0;
    FOR_ROW(j) if (!mask || mask[j * step_key]) top = larger(top, s[j] * scale);
    top = block_max(top);
    if (top == lowest) top = 0;
    FOR_ROW(j) if (!mask || mask[j * step_key]) sum += exp(s[j] * scale - top);
    sum = block_sum(sum);
    if (sum == 0) sum = 1;
    FOR_ROW(j) {
        REAL weight = !mask || mask[j * step_key] ? exp(s[j] * scale - top) / sum : 0;
        p[j] = weight;
        if (drop) d[row * width + j] = weight * drop[row * width + j];
    }
}

// With dp = gd drop:  dL/ds = scale p (dp - <dp, p>). gs may be gd. One block a row.
extern "C" __global__ void attention_backward(const REAL* p, const REAL* gd, const REAL* drop, REAL* gs, long long width, REAL scale) {
    p = ROW(p);
    gd = ROW(gd);
    gs = ROW(gs);
    if (drop) drop = ROW(drop);
    REAL sum = 0;
    FOR_ROW(j) sum += gd[j] * (drop ? drop[j] : 1) * p[j];
    sum = block_sum(sum);
    FOR_ROW(j) gs[j] = p[j] * (gd[j] * (drop ? drop[j] : 1) - sum) * scale;
}
