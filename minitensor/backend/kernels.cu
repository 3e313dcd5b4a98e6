// The library's CUDA kernels, compiled at run time (NVRTC) once with -DREAL=float and once with -DREAL=double.
//
// Arrays are C-contiguous. "One block a row" kernels run blockDim.x threads, a multiple of 32 and at most 1024, on the row
// blockIdx.x; all others number their threads through the grid. No kernel adds floats atomically: every sum has one fixed order,
// so that a run can be repeated bit for bit.

typedef unsigned long long word;

#define ALL_LANES 0xffffffffu
#define THREAD (blockIdx.x * (long long)blockDim.x + threadIdx.x)
#define ROW(array) ((array) + blockIdx.x * width)
#define FOR_ROW(j) for (long long j = threadIdx.x; j < width; j += blockDim.x)

__device__ REAL larger(REAL a, REAL b) { return a > b || a != a ? a : b; }  // NaN wins, as in NumPy

// Sum (or maximum) of one number per thread; every thread of the block gets the result.
__device__ REAL block_reduce(REAL x, bool maximum) {
    __shared__ REAL parts[32];
    for (int step = 16; step > 0; step /= 2) {
        REAL other = __shfl_xor_sync(ALL_LANES, x, step);
        x = maximum ? larger(x, other) : x + other;
    }
    __syncthreads();  // parts may still be read by the previous reduction
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
    for (int i = 1; i < blockDim.x / 32; i++) x = maximum ? larger(x, parts[i]) : x + parts[i];
    return x;
}

__device__ REAL block_sum(REAL x) { return block_reduce(x, false); }
__device__ REAL block_max(REAL x) { return block_reduce(x, true); }

// --- random words --------------------------------------------------------------------------------

// Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): words 4i to 4i + 3 are the counter plus i,
// stirred ten times with the key. Equal word for word to numpy.random.Philox.
extern "C" __global__ void philox(word* out, long long count, word key0, word key1, word counter0, word counter1) {
    long long i = THREAD;
    if (4 * i >= count) return;
    word c0 = counter0 + i, c1 = counter1 + (c0 < counter0), c2 = c1 < counter1, c3 = 0;
    for (int round = 0; round < 10; round++) {
        word high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0), low0 = 0xD2E7470EE14C6C93ull * c0;
        word high1 = __umul64hi(0xCA5A826395121157ull, c2), low1 = 0xCA5A826395121157ull * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    word block[4] = {c0, c1, c2, c3};
    for (int k = 0; k < 4 && 4 * i + k < count; k++) out[4 * i + k] = block[k];
}

// --- indexing ------------------------------------------------------------------------------------

// out[id] += sum of values[order[k]] over the run of equal ids, added from the first to the last. One block a place k in the sorted
// ids; the block at the start of a run does the run.
extern "C" __global__ void segment_sum(REAL* out, const REAL* values, const long long* ids, const long long* order,
                                       long long count, long long rows, long long width) {
    long long first = blockIdx.x, id = ids[first];
    if (id < 0 || id >= rows || (first > 0 && ids[first - 1] == id)) return;
    FOR_ROW(j) {
        REAL sum = out[id * width + j];
        for (long long k = first; k < count && ids[k] == id; k++) sum += values[order[k] * width + j];
        out[id * width + j] = sum;
    }
}

// fault = (whether any was found, label of the check, the id), noted on the GPU and looked at by the host when it reads a value
// back anyway, so that checking costs no wait. Of several, the first to arrive is told.
extern "C" __global__ void check_ids(const long long* ids, long long count, long long low, long long high, long long label,
                                     long long* fault) {
    long long i = THREAD;
    if (i >= count || (ids[i] >= low && ids[i] < high)) return;
    if (atomicCAS((word*)fault, 0ull, 1ull) == 0ull) {
        fault[1] = label;
        fault[2] = ids[i];
    }
}

// --- division with a whole quotient --------------------------------------------------------------

// The quotient rounded down and the remainder with the sign of y, both from the exact remainder of fmod, as NumPy has them:
// floor(x / y) would make 1.0 / 0.1 ten, which is one too many.
__device__ REAL divide_whole(REAL x, REAL y, REAL* rest) {
    *rest = fmod(x, y);
    if (y == 0) return x / y;
    REAL quotient = (x - *rest) / y;
    if (*rest == 0) {
        *rest = copysign((REAL)0, y);
    } else if ((*rest < 0) != (y < 0)) {
        *rest += y;
        quotient -= 1;
    }
    if (quotient == 0) return copysign((REAL)0, x / y);
    REAL whole = floor(quotient);
    return quotient - whole > (REAL)0.5 ? whole + 1 : whole;
}

extern "C" __global__ void floor_divide(const REAL* x, const REAL* y, REAL* out, long long count) {
    long long i = THREAD;
    REAL rest;
    if (i < count) out[i] = divide_whole(x[i], y[i], &rest);
}

extern "C" __global__ void remainder_of(const REAL* x, const REAL* y, REAL* out, long long count) {
    long long i = THREAD;
    if (i < count) divide_whole(x[i], y[i], out + i);
}

// --- softmax -------------------------------------------------------------------------------------

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

// Softmax of the scores that the mask allows, then dropout: p = softmax(s), d = p drop. s is (batch, heads, queries, width); the mask
// is read by its own steps, 0 along the axes where it is repeated; drop has the shape of s; either may be null. A row that is
// allowed nothing is zero, and a score that is not allowed is not read. One block a row.
extern "C" __global__ void attention_forward(const REAL* s, const bool* mask, const REAL* drop, REAL* p, REAL* d, long long width,
                                             long long heads, long long queries, long long step_batch, long long step_head,
                                             long long step_query, long long step_key) {
    long long row = blockIdx.x;
    s = ROW(s);
    p = ROW(p);
    if (mask) mask += row / queries / heads * step_batch + row / queries % heads * step_head + row % queries * step_query;
    REAL lowest = -1 / REAL(0), top = lowest, sum = 0;
    FOR_ROW(j) if (!mask || mask[j * step_key]) top = larger(top, s[j]);
    top = block_max(top);
    if (top == lowest) top = 0;
    FOR_ROW(j) if (!mask || mask[j * step_key]) sum += exp(s[j] - top);
    sum = block_sum(sum);
    if (sum == 0) sum = 1;
    FOR_ROW(j) {
        REAL weight = !mask || mask[j * step_key] ? exp(s[j] - top) / sum : 0;
        p[j] = weight;
        if (drop) d[row * width + j] = weight * drop[row * width + j];
    }
}

// With dp = gd drop:  dL/ds = p (dp - <dp, p>). gs may be gd. One block a row.
extern "C" __global__ void attention_backward(const REAL* p, const REAL* gd, const REAL* drop, REAL* gs, long long width) {
    p = ROW(p);
    gd = ROW(gd);
    gs = ROW(gs);
    if (drop) drop = ROW(drop);
    REAL sum = 0;
    FOR_ROW(j) sum += gd[j] * (drop ? drop[j] : 1) * p[j];
    sum = block_sum(sum);
    FOR_ROW(j) gs[j] = p[j] * (gd[j] * (drop ? drop[j] : 1) - sum);
}

// --- layer norm and RMS norm ---------------------------------------------------------------------

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

// Column sums of g u and of g over `chunk` rows: a thread takes column j of chunk blockIdx.y. The caller adds the chunks.
extern "C" __global__ void norm_columns(const REAL* x, const REAL* g, const REAL* mean, const REAL* rstd, REAL* sum_gu, REAL* sum_g,
                                        long long rows, long long width, long long chunk) {
    long long j = THREAD, first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows;
    if (j >= width) return;
    REAL gu = 0, sum = 0;
    for (long long i = first; i < last; i++) {
        REAL value = g[i * width + j];
        gu += value * (x[i * width + j] - mean[i]) * rstd[i];
        sum += value;
    }
    sum_gu[blockIdx.y * width + j] = gu;
    sum_g[blockIdx.y * width + j] = sum;
}

// --- cross-entropy -------------------------------------------------------------------------------

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

// --- activations ---------------------------------------------------------------------------------

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

// --- Adam ----------------------------------------------------------------------------------------

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
