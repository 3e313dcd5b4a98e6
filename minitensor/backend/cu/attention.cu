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

// Zeros in place of queries that see no key, and of keys and values that no query sees. q is (batch, heads, queries, width), k and v
// are (batch, heads, keys, width or deep), each read by its own steps along the first three axes; the mask as in attention_forward. One
// block a row: first those of q, `count` of them, then those of k and v.
extern "C" __global__ void attention_seen(const REAL* q, const REAL* k, const REAL* v, const bool* mask, REAL* out_q, REAL* out_k,
                                          REAL* out_v, long long count, long long width, long long deep, long long heads,
                                          long long queries, long long keys, long long step_batch, long long step_head,
                                          long long step_query, long long step_key, long long q_batch, long long q_head,
                                          long long q_row, long long k_batch, long long k_head, long long k_row, long long v_batch,
                                          long long v_head, long long v_row) {
    bool asks = blockIdx.x < count;
    long long row = asks ? blockIdx.x : blockIdx.x - count, each = asks ? queries : keys, others = asks ? keys : queries;
    long long step = asks ? step_key : step_query;
    long long batch = row / each / heads, head = row / each % heads, place = row % each;
    mask += batch * step_batch + head * step_head + place * (asks ? step_query : step_key);
    if (step == 0 && others > 1) others = 1;  // one stands for all
    REAL found = 0;
    for (long long j = threadIdx.x; j < others; j += blockDim.x)
        if (mask[j * step]) found = 1;
    bool seen = block_max(found) > 0;
    const REAL* x = asks ? q + batch * q_batch + head * q_head + place * q_row : k + batch * k_batch + head * k_head + place * k_row;
    REAL* out = asks ? out_q : out_k;
    FOR_ROW(i) out[row * width + i] = seen ? x[i] : 0;
    if (asks) return;
    v += batch * v_batch + head * v_head + place * v_row;
    for (long long i = threadIdx.x; i < deep; i += blockDim.x) out_v[row * deep + i] = seen ? v[i] : 0;
}
